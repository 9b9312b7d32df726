"""Answers the refusals of chaos with codes, stable reasons and one helpful sentence."""

from grpc import StatusCode
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_common.errors import FieldViolation, RpcError

from mltrainer_chaos.application.request_run import explain
from mltrainer_chaos.domain import errors


def to_rpc_error(error: Exception) -> RpcError | None:
    """Returns the answer to an error; None for one that is not ours."""
    match error:
        case errors.InvalidExperimentError():
            return _invalid(error)
        case errors.ChaosError():
            return _refusal(error) or _bad_request(error)
        case DatabaseUnavailableError():
            message = "the database of chaos cannot be reached now"
            return RpcError(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", message, retry_after_s=1.0)
        case DatabaseConflictError():
            return RpcError(StatusCode.ABORTED, "LOST_RACE", "another request won; send this one again")
    return None


def _invalid(error: errors.InvalidExperimentError) -> RpcError:
    return RpcError(
        StatusCode.INVALID_ARGUMENT,
        "INVALID_EXPERIMENT",
        f"the experiment is refused: {error.violations[0].path} {error.violations[0].description}",
        metadata={"path": error.violations[0].path, "description": error.violations[0].description},
        field_violations=[FieldViolation(item.path, item.description) for item in error.violations],
    )


def _refusal(error: errors.ChaosError) -> RpcError | None:
    match error:
        case errors.TargetNotAllowedError(target=target):
            code, facts = StatusCode.PERMISSION_DENIED, {"target": target}
            return RpcError(code, "TARGET_NOT_ALLOWED", explain(error), metadata=facts)
        case errors.TargetBusyError(target=target, run=run):
            code, facts = StatusCode.FAILED_PRECONDITION, {"target": target, "run": run}
            return RpcError(code, "TARGET_BUSY", explain(error), metadata=facts)
        case errors.KillSwitchOnError(actor=actor, reason=reason):
            code, facts = StatusCode.FAILED_PRECONDITION, {"actor": actor, "reason": reason}
            return RpcError(code, "KILL_SWITCH_ON", explain(error), metadata=facts)
    return None


def _bad_request(error: errors.ChaosError) -> RpcError | None:
    match error:
        case errors.RunNotFoundError(name=name):
            message = f"{name} does not exist"
            return RpcError(StatusCode.NOT_FOUND, "CHAOS_RUN_NOT_FOUND", message, metadata={"name": name})
        case errors.RequestIdReusedError(request_id=request_id):
            message = f"request id {request_id} has started another experiment: use a new one"
            facts = {"request_id": request_id}
            return RpcError(StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED", message, metadata=facts)
        case errors.InvalidFieldError(field=field, description=description):
            return RpcError(
                StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
                f"{field} {description}",
                metadata={"field": field, "description": description},
                field_violations=[FieldViolation(field, description)],
            )
    return None
