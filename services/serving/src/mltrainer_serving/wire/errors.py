"""Maps this service's errors to answers."""

from grpc import StatusCode
from mltrainer_common.errors import FieldViolation, RpcError

from mltrainer_serving.domain.errors import (
    DeploymentNotFoundError,
    FeatureViewsDifferError,
    InvalidTensorError,
    ModelNotReadyError,
    ModelNotServedError,
)


def to_rpc_error(error: Exception) -> RpcError | None:
    """Returns the answer for an error of this service; None for any other."""
    match error:
        case ModelNotServedError(model=model, version=version):
            facts = {"model": model, "version": version}
            text = f"model {model!r} version {version!r} is not served here; ListDeployments shows what is"
            return RpcError(StatusCode.NOT_FOUND, "MODEL_NOT_SERVED", text, metadata=facts)
        case ModelNotReadyError(model=model, alias=alias, cause=cause):
            facts = {"model": model, "alias": alias, "cause": cause}
            text = f"model {model!r} has no loaded version for {alias!r} yet: {cause}"
            return RpcError(
                StatusCode.UNAVAILABLE, "MODEL_NOT_READY", text, metadata=facts, retry_after_s=1.0
            )
        case FeatureViewsDifferError(version=version, differences=differences):
            facts = {"version": version, "differences": "; ".join(differences)}
            return RpcError(
                StatusCode.FAILED_PRECONDITION, "FEATURE_VIEWS_DIFFER", str(error), metadata=facts
            )
        case InvalidTensorError(field=field, description=description):
            violation = FieldViolation(field, description)
            text = f"{field}: {description}"
            return RpcError(
                StatusCode.INVALID_ARGUMENT,
                "INVALID_TENSOR",
                text,
                metadata={"field": field},
                field_violations=[violation],
            )
        case DeploymentNotFoundError(name=name):
            text = f"{name} does not exist; ListDeployments shows what does"
            return RpcError(StatusCode.NOT_FOUND, "DEPLOYMENT_NOT_FOUND", text, metadata={"name": name})
    return None
