"""Maps what the trainer refuses to answers."""

from grpc import StatusCode
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_common.errors import FieldViolation, RpcError

from mltrainer_trainer.domain.errors import (
    AttemptEndedError,
    AttemptNotFoundError,
    InvalidFieldError,
    RetrainingExistsError,
    RetrainingNotFoundError,
    StaleEtagError,
    StaleFencingTokenError,
    StudyNotFoundError,
    StudyTargetDiffersError,
)


def to_rpc_error(error: Exception) -> RpcError | None:  # noqa: PLR0911 - one answer for each error
    """Maps an error of the domain; None for what is unknown."""
    match error:
        case AttemptNotFoundError(name=name):
            return _not_found("ATTEMPT_NOT_FOUND", name)
        case StudyNotFoundError(name=name):
            return _not_found("STUDY_NOT_FOUND", name)
        case InvalidFieldError(field=field, description=description):
            return RpcError(
                StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
                f"{field}: {description}",
                metadata={"field": field},
                field_violations=[FieldViolation(field, description)],
            )
        case DatabaseConflictError():
            return RpcError(StatusCode.ABORTED, "CONCURRENT_CHANGE", "a concurrent change won: try again")
        case DatabaseUnavailableError():
            message = "the database of the trainer cannot serve now"
            return RpcError(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", message, retry_after_s=1.0)
        case RetrainingNotFoundError() | RetrainingExistsError() | StaleEtagError():
            return _of_retraining(error)
    return _failed_precondition(error)


def _of_retraining(error: RetrainingNotFoundError | RetrainingExistsError | StaleEtagError) -> RpcError:
    match error:
        case RetrainingNotFoundError(name=name):
            return _not_found("RETRAINING_NOT_FOUND", name)
        case RetrainingExistsError(name=name):
            message = f"{name} exists and says something else"
            return RpcError(StatusCode.ALREADY_EXISTS, "RETRAINING_EXISTS", message, metadata={"name": name})
        case StaleEtagError(name=name, etag=etag):
            message = f"{name} has changed since it was read: read it again"
            return RpcError(StatusCode.ABORTED, "STALE_ETAG", message, metadata={"name": name, "etag": etag})


def _failed_precondition(error: Exception) -> RpcError | None:
    match error:
        case StaleFencingTokenError(name=name, fencing_token=token, highest_token=highest):
            reason = "STALE_FENCING_TOKEN"
            facts = {"name": name, "fencing_token": str(token), "highest_token": str(highest)}
            message = f"{name} no longer holds the allocation of its training: end it"
        case AttemptEndedError(name=name, state=state):
            reason, facts = "ATTEMPT_ENDED", {"name": name, "state": state}
            message = f"{name} has ended as {state}: end its process"
        case StudyTargetDiffersError(study=study, target=target, other_target=other):
            reason, facts = "STUDY_TARGET_DIFFERS", {"study": study, "target": target, "other_target": other}
            message = f"{study} predicts {target}, not {other}: use another study"
        case _:
            return None
    return RpcError(StatusCode.FAILED_PRECONDITION, reason, message, metadata=facts)


def _not_found(reason: str, name: str) -> RpcError:
    return RpcError(StatusCode.NOT_FOUND, reason, f"{name} does not exist", metadata={"name": name})
