"""Maps refusals to answers."""

from grpc import StatusCode
from mltrainer_common.database import DatabaseConflictError
from mltrainer_common.errors import FieldViolation, RpcError
from mltrainer_scheduling.quotas import QueueTreeError

from mltrainer_scheduler.domain.errors import (
    InvalidFieldError,
    NoComputationKeyError,
    QueuesChangedError,
    RequestNotFoundError,
    TrainingNotFoundError,
    WrongStateError,
)


def to_rpc_error(error: Exception) -> RpcError | None:  # noqa: PLR0911 - one answer for each error
    """Answers for an error of the scheduler; None for every other."""
    match error:
        case TrainingNotFoundError(name=name):
            return RpcError(StatusCode.NOT_FOUND, "TRAINING_NOT_FOUND", str(error), metadata={"name": name})
        case RequestNotFoundError(request_id=request_id):
            facts = {"request_id": request_id}
            return RpcError(StatusCode.NOT_FOUND, "TRAINING_NOT_FOUND", str(error), metadata=facts)
        case InvalidFieldError(field=field, description=description):
            return RpcError(
                StatusCode.INVALID_ARGUMENT,
                "INVALID_REQUEST",
                str(error),
                metadata={"field": field},
                field_violations=[FieldViolation(field, description)],
            )
        case QueueTreeError(queue=queue, field=field, description=description):
            return RpcError(
                StatusCode.INVALID_ARGUMENT,
                "INVALID_QUEUES",
                str(error),
                metadata={"queue": queue, "field": field},
                field_violations=[FieldViolation(f"queues[{queue}].{field}", description)],
            )
        case QueuesChangedError(etag=etag):
            return RpcError(StatusCode.ABORTED, "LOST_RACE", str(error), metadata={"etag": etag})
        case WrongStateError(training=training, state=state):
            facts = {"training": training, "state": state}
            return RpcError(StatusCode.FAILED_PRECONDITION, "WRONG_STATE", str(error), metadata=facts)
        case NoComputationKeyError(training=training):
            facts = {"training": training}
            return RpcError(StatusCode.FAILED_PRECONDITION, "NO_COMPUTATION_KEY", str(error), metadata=facts)
        case DatabaseConflictError():
            message = "another change came first; ask again"
            return RpcError(StatusCode.ABORTED, "LOST_RACE", message)
    return None
