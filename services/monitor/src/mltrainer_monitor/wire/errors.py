"""Maps refusals to answers."""

from grpc import StatusCode
from mltrainer_common.database import DatabaseUnavailableError
from mltrainer_common.errors import FieldViolation, RpcError

from mltrainer_monitor.domain.errors import InvalidFieldError, ModelNotWatchedError


def to_rpc_error(error: Exception) -> RpcError | None:
    """Answers for an error of monitor; None for every other."""
    match error:
        case ModelNotWatchedError(name=name):
            return RpcError(StatusCode.NOT_FOUND, "MODEL_NOT_WATCHED", str(error), metadata={"name": name})
        case InvalidFieldError(field=field, description=description):
            return RpcError(
                StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
                str(error),
                metadata={"field": field},
                field_violations=[FieldViolation(field, description)],
            )
        case DatabaseUnavailableError():
            return RpcError(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", "the database cannot serve now")
    return None
