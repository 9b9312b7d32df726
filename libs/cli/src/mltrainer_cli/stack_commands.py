"""What `up`, `down` and `status` do and print."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from mltrainer_common.discovery import read_endpoints

from mltrainer_cli import stack_control
from mltrainer_cli.console import print_fields, print_json, print_line, print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import Output
from mltrainer_cli.record import ProcessRecord, State, SupervisorRecord
from mltrainer_cli.stack import KAFKA, StackOptions

_COLUMNS = ("process", "pid", "state", "restarts", "address", "uptime")


def run_up(
    data: DataDirectory, options: StackOptions, output: Output, *, foreground: bool, timeout_s: float
) -> None:
    """Starts a stack, showing each process as it becomes ready."""
    if foreground:
        _stay(data, options)
        return
    started = time.monotonic()
    with _progress(output) as show:
        record = stack_control.start(data, options, timeout_s=timeout_s, on_change=show)
    if output is Output.JSON:
        print_json(describe(data, record))
        return
    print_line(f"Ready in {time.monotonic() - started:.1f} s; state and logs are in {data.path}.")


def run_down(data: DataDirectory, output: Output) -> None:
    """Ends a stack and makes sure that nothing of it runs."""
    count = stack_control.stop(data)
    if output is Output.JSON:
        print_json({"ended": count, "running": 0})
        return
    plural = "process" if count == 1 else "processes"
    print_line(f"Ended {count} {plural}; nothing is left running." if count else "Nothing was running.")


def run_status(data: DataDirectory, output: Output) -> None:
    """Shows a running stack; one that does not run is an error of its own exit code."""
    record = stack_control.require_running(data)
    description = describe(data, record)
    if output is Output.JSON:
        print_json(description)
        return
    print_rows(description["processes"], _COLUMNS, output)
    print_fields({"data directory": data.path, "supervisor": record.pid}, output)


def describe(data: DataDirectory, record: SupervisorRecord) -> dict[str, Any]:
    """Returns the facts about a running stack that `status --output json` prints."""
    endpoints = read_endpoints(data.endpoints_file)

    def address_of(process: ProcessRecord) -> tuple[str | None, str | None]:
        if process.name == KAFKA:
            return record.kafka_bootstrap_servers, None
        slug, _, instance = process.name.rpartition("-")
        endpoint = endpoints.get(slug, {}).get(instance)
        if endpoint is None or endpoint.pid != process.pid:
            return None, None
        return endpoint.address, endpoint.metrics_address

    return {
        "state": State.READY if record.is_ready else State.STARTING,
        "data_directory": str(data.path),
        "supervisor_pid": record.pid,
        "kafka_bootstrap_servers": record.kafka_bootstrap_servers,
        "processes": [_describe(process, *address_of(process)) for process in record.processes],
    }


def _describe(process: ProcessRecord, address: str | None, metrics_address: str | None) -> dict[str, Any]:
    uptime_s = _uptime_s(process)
    # A full disk keeps the supervisor from writing that a process has ended.
    ended = process.state is State.READY and uptime_s is None
    return {
        "process": process.name,
        "pid": process.pid,
        "state": State.RESTARTING if ended else process.state,
        "restarts": process.restarts,
        "exit_code": process.exit_code,
        "address": address,
        "metrics_address": metrics_address,
        "uptime_s": uptime_s,
        "uptime": None if uptime_s is None else _duration(uptime_s),
        "start_time": process.start_time,
        "log_file": process.log_file,
    }


def _uptime_s(process: ProcessRecord) -> float | None:
    if process.start_time is None or process.identity is None or not process.identity.is_alive():
        return None
    return round((datetime.now(UTC) - datetime.fromisoformat(process.start_time)).total_seconds(), 1)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _stay(data: DataDirectory, options: StackOptions) -> None:
    arguments = ["-P", "-m", "mltrainer_cli.supervise", str(data.path), options.to_json()]
    with subprocess.Popen([sys.executable, *arguments]) as supervisor:
        while True:
            try:
                code = supervisor.wait()
                break
            except KeyboardInterrupt:
                continue  # the terminal told the supervisor too; wait for its end
    if code:
        raise CliError("The stack could not run; the line above says why.", ExitCode.PRECONDITION)


@contextmanager
def _progress(output: Output) -> Iterator[Callable[[SupervisorRecord], None]]:
    if output is Output.JSON:
        yield lambda _record: None
    elif sys.stdout.isatty():
        with _live_progress() as show:
            yield show
    else:
        yield _line_progress()


def _line_progress() -> Callable[[SupervisorRecord], None]:
    ready: set[str] = set()

    def show(record: SupervisorRecord) -> None:
        for process in record.processes:
            if process.state is State.READY and process.name not in ready:
                ready.add(process.name)
                print_line(f"{process.name} is ready")

    return show


@contextmanager
def _live_progress() -> Iterator[Callable[[SupervisorRecord], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<18}"), BarColumn(20), TextColumn("{task.fields[state]:<11}"))
    with Progress(*columns, TimeElapsedColumn()) as progress:
        preparing = progress.add_task("kafka broker", total=None, state=State.PREPARING)
        tasks = {}

        def show(record: SupervisorRecord) -> None:
            if record.processes:
                progress.update(preparing, visible=False)
            for process in record.processes:
                if process.name not in tasks:
                    tasks[process.name] = progress.add_task(process.name, total=1, state=process.state)
                ready = int(process.state is State.READY)
                progress.update(tasks[process.name], completed=ready, state=process.state)

        yield show
