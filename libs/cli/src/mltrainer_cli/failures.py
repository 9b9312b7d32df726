"""Turns the expected errors of the libraries a command uses into one sentence and an exit code."""

import errno

import grpc
from mltrainer_common.errors import RpcFailure, StartupError
from typer import Abort, Exit

from mltrainer_cli.errors import CliError, ExitCode

_CODES = {
    grpc.StatusCode.UNAVAILABLE: ExitCode.NOT_RUNNING,
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.DEADLINE_EXCEEDED: ExitCode.TIMED_OUT,
    grpc.StatusCode.INTERNAL: ExitCode.FAILED,
    grpc.StatusCode.UNKNOWN: ExitCode.FAILED,
}
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def explain(error: Exception) -> CliError | None:
    """Returns what to tell the user, or None for an error nobody foresaw."""
    match error:
        case Exit():
            return None
        case Abort():
            return CliError("Aborted.", ExitCode.FAILED)
        case RpcFailure():
            return CliError(_rpc_sentence(error), _CODES.get(error.code, ExitCode.REJECTED))
        case StartupError():
            return CliError(str(error))
        case OSError() if error.errno in _STORAGE_ERRORS:
            return CliError.from_os_error(error, "finish")
    return _usage(error)


def _usage(error: Exception) -> CliError | None:
    if isinstance(code := getattr(error, "exit_code", None), int) and callable(
        words := getattr(error, "format_message", None)
    ):
        return CliError(f"{words()} See `mltrainer --help`.", ExitCode(code))
    return None


def _rpc_sentence(failure: RpcFailure) -> str:
    if failure.code is grpc.StatusCode.UNAVAILABLE:
        peer = failure.peer or "The service"
        return f"{peer} cannot be reached: see `mltrainer status`, or start the stack with `mltrainer up`."
    fields = "; ".join(f"{one.field}: {one.description}" for one in failure.field_violations)
    reason = f" [{failure.reason}]" if failure.reason else ""
    return f"{failure.message or failure.code.name}{f' ({fields})' if fields else ''}{reason}"
