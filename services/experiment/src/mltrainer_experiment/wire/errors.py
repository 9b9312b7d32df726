"""Answers refusals with codes, stable reasons and one helpful sentence."""

from grpc import StatusCode
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_common.errors import FieldViolation, RpcError

from mltrainer_experiment.domain import errors


def to_rpc_error(error: Exception) -> RpcError | None:
    """Returns the answer to an error; None for one that is not this service's."""
    if isinstance(error, errors.ExperimentError):
        return _input(error) or _state(error) or _flag(error)
    match error:
        case DatabaseUnavailableError():
            message = "the database of the experiment service cannot be reached now"
            return RpcError(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", message, retry_after_s=1.0)
        case DatabaseConflictError():
            return RpcError(StatusCode.ABORTED, "LOST_RACE", "another request won; send this one again")
    return None


def _input(error: errors.ExperimentError) -> RpcError | None:
    code = StatusCode.INVALID_ARGUMENT
    match error:
        case errors.InvalidFieldError(field=field, description=description):
            violation = FieldViolation(field, description)
            facts = {"field": field, "description": description}
            message = f"{field} {description}"
            return RpcError(code, "INVALID_FIELD", message, metadata=facts, field_violations=[violation])
        case errors.InvalidDefinitionError(violations=violations):
            listed = [FieldViolation(field, description) for field, description in violations]
            message = "the experiment is not well defined: " + "; ".join(f"{f} {d}" for f, d in violations)
            facts = dict(violations)
            return RpcError(code, "INVALID_DEFINITION", message, metadata=facts, field_violations=listed)
        case errors.RequestIdReusedError(request_id=request_id):
            message = f"request_id {request_id} has asked for something else before"
            return RpcError(code, "REQUEST_ID_REUSED", message, metadata={"request_id": request_id})
    return None


def _state(error: errors.ExperimentError) -> RpcError | None:
    match error:
        case errors.ExperimentNotFoundError(name=name):
            message = f"{name} does not exist"
            return RpcError(StatusCode.NOT_FOUND, "EXPERIMENT_NOT_FOUND", message, metadata={"name": name})
        case errors.ExperimentExistsError(name=name):
            message = f"{name} exists already: choose another id"
            return RpcError(StatusCode.ALREADY_EXISTS, "EXPERIMENT_EXISTS", message, metadata={"name": name})
        case errors.ExperimentNotDraftError(name=name, state=state):
            message = f"{name} is {state}; only a draft can be started"
            facts = {"name": name, "state": state}
            return RpcError(StatusCode.FAILED_PRECONDITION, "EXPERIMENT_NOT_DRAFT", message, metadata=facts)
        case errors.ModelHasActiveExperimentError(model=model, active=active):
            message = f"units of {model} are split by {active}: stop it first"
            facts = {"model": model, "active": active}
            return RpcError(
                StatusCode.FAILED_PRECONDITION, "MODEL_HAS_ACTIVE_EXPERIMENT", message, metadata=facts
            )
    return None


def _flag(error: errors.ExperimentError) -> RpcError | None:
    match error:
        case errors.FlagNotFoundError(flag_key=key):
            message = f"there is no flag {key}: flags are ids of experiments"
            return RpcError(StatusCode.NOT_FOUND, "FLAG_NOT_FOUND", message, metadata={"flag_key": key})
        case errors.FlagTypeMismatchError(flag_key=key, asked_type=asked):
            message = f"flag {key} is a string, not of type {asked}"
            facts = {"flag_key": key, "asked_type": asked}
            return RpcError(StatusCode.INVALID_ARGUMENT, "FLAG_TYPE_MISMATCH", message, metadata=facts)
        case errors.TargetingKeyMissingError(flag_key=key):
            message = f"flag {key} needs the unit as targetingKey of the context"
            return RpcError(
                StatusCode.INVALID_ARGUMENT, "TARGETING_KEY_MISSING", message, metadata={"flag_key": key}
            )
    return None
