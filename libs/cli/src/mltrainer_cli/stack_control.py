"""Starts, watches and ends a stack from outside: what `up`, `down`, `status` and the demo are made of."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.logs import last_error
from mltrainer_cli.processes import end, members
from mltrainer_cli.record import ProcessRecord, State, SupervisorRecord, read_record
from mltrainer_cli.stack import StackOptions

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 45.0
_INTERVAL_S = 0.05
_REFUSED = 2
"""The exit code by which a service says that it cannot start at all."""
_FUTILE_RESTARTS = 3

OnChange = Callable[[SupervisorRecord], None]


@dataclass(frozen=True, slots=True)
class _Launched:
    """A supervisor that this process has started."""

    pid: int
    log_file: Path
    log_offset: int

    def exit_code(self) -> int | None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return ExitCode.FAILED
        return os.waitstatus_to_exitcode(status) if pid else None


def start(
    data: DataDirectory,
    options: StackOptions,
    *,
    timeout_s: float = READY_TIMEOUT_S,
    on_change: OnChange = lambda _record: None,
) -> SupervisorRecord:
    """Starts the stack of a data directory in the background and returns once every process answers.

    A stack that already runs is only waited for; its options stay as they were.

    Raises:
        CliError: it cannot start, which leaves nothing running, or it is not ready in time.
    """
    data.prepare()
    launched = None if running(data) else _launch(data, options)
    deadline = time.monotonic() + timeout_s
    while True:
        record = _current(data, launched)
        if record is not None:
            on_change(record)
            if launched is not None:
                _refuse_the_futile(data, record)
            if record.is_ready:
                return record
        if time.monotonic() > deadline:
            raise CliError(_unready(record), ExitCode.TIMED_OUT)
        time.sleep(_INTERVAL_S)


def stop(data: DataDirectory, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """Ends every process of the stack and returns how many there were.

    Raises:
        CliError: something still runs.
    """
    record = running(data)
    stack_id = data.stack_id
    before = len(members(stack_id)) if stack_id else 0
    if record is not None:
        end([record.identity], grace_s=timeout_s)
        _collect(record.pid)
    leftovers = members(stack_id) if stack_id else []
    if remaining := end(leftovers, grace_s=3.0):
        numbers = ", ".join(str(one.pid) for one in remaining)
        raise CliError(f"Some processes do not end even when killed: look at {numbers}.", ExitCode.FAILED)
    return before


def running(data: DataDirectory) -> SupervisorRecord | None:
    """Returns what the supervisor says, or None when none runs."""
    record = read_record(data.record_file)
    return record if record is not None and record.identity.is_alive() else None


def require_running(data: DataDirectory) -> SupervisorRecord:
    """Returns what the supervisor says.

    Raises:
        CliError: none runs.
    """
    record = running(data)
    if record is None:
        raise CliError(
            f"No stack of {data.path} is running: start it with `mltrainer up`.", ExitCode.NOT_RUNNING
        )
    return record


def _launch(data: DataDirectory, options: StackOptions) -> _Launched:
    log_file = data.logs / "supervisor.log"
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        offset = os.fstat(log).st_size
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "mltrainer_cli.supervise", str(data.path), options.to_json()],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(log)
        os.close(null)
    return _Launched(pid, log_file, offset)


def _current(data: DataDirectory, launched: _Launched | None) -> SupervisorRecord | None:
    if launched is None:
        return require_running(data)
    if (code := launched.exit_code()) is not None:
        known = code in set(ExitCode) and code != ExitCode.OK
        raise CliError(last_error(launched.log_file, launched.log_offset), ExitCode(code if known else 1))
    record = read_record(data.record_file)
    return record if record is not None and record.pid == launched.pid else None


def _refuse_the_futile(data: DataDirectory, record: SupervisorRecord) -> None:
    for process in record.processes:
        if _is_futile(process):
            reason = last_error(Path(process.log_file), process.log_offset)
            stop(data)
            raise CliError(
                f"{process.name} did not start: {reason} (its log: {process.log_file})", ExitCode.PRECONDITION
            )


def _is_futile(process: ProcessRecord) -> bool:
    if process.state is State.READY:
        return False
    return process.exit_code == _REFUSED or process.restarts >= _FUTILE_RESTARTS


def _unready(record: SupervisorRecord | None) -> str:
    names = [one.name for one in record.processes if one.state is not State.READY] if record else []
    what = ", ".join(names) or "the supervisor"
    return f"The stack is not ready in time, it still waits for {what}: see `mltrainer status` and the logs."


def _collect(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return
