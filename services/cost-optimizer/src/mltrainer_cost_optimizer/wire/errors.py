"""Answers refusals with codes, stable reasons and one helpful sentence."""

from grpc import StatusCode
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_common.errors import FieldViolation, RpcError

from mltrainer_cost_optimizer.domain import errors


def to_rpc_error(error: Exception) -> RpcError | None:
    """Returns the answer to an error; None for one that is not this service's."""
    match error:
        case errors.InvalidFieldError(field=field, description=description):
            return RpcError(
                StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
                f"{field} {description}",
                metadata={"field": field, "description": description},
                field_violations=[FieldViolation(field, description)],
            )
        case errors.InvalidPriceFileError(path=path, description=description):
            return RpcError(
                StatusCode.FAILED_PRECONDITION,
                "INVALID_PRICE_FILE",
                f"{path} {description}",
                metadata={"path": path, "description": description},
            )
        case DatabaseUnavailableError():
            message = "the database of cost-optimizer cannot be reached now"
            return RpcError(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", message, retry_after_s=1.0)
        case DatabaseConflictError():
            return RpcError(StatusCode.ABORTED, "LOST_RACE", "another request won; send this one again")
    return None
