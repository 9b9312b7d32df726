"""Follows a training to its end, with a progress bar for people."""

import asyncio
import sys
import time
from typing import TYPE_CHECKING

from mltrainer_cli.calls import call
from mltrainer_cli.commands.train import find_training, list_attempts
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from mltrainer.scheduler.v1.resources_pb2 import Training
    from mltrainer.trainer.v1.resources_pb2 import Attempt
    from mltrainer_sdk import Client
    from rich.progress import Progress, TaskID

_POLL_S = 0.5
_GRACE_S = 15.0
"""For so long a request may be on its way to the scheduler."""


def watch_training(data: DataDirectory, text: str, timeout_s: float, *, show: bool) -> "Training":
    """Returns a training when it has ended.

    Raises:
        CliError: The time is over; the training goes on.
        RpcFailure: There is no such training.
    """
    from rich.console import Console
    from rich.progress import BarColumn as Bar
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), Bar(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(file=sys.stderr), disable=not show
    ) as progress:
        task = progress.add_task("asked", total=1.0)
        return call(data, lambda client: _follow(client, text, timeout_s, progress, task))


async def _follow(
    client: "Client", text: str, timeout_s: float, progress: "Progress", task: "TaskID"
) -> "Training":
    from mltrainer_sdk import TERMINAL_STATES, RpcFailure

    begin_s = time.monotonic()
    while (elapsed_s := time.monotonic() - begin_s) < timeout_s:
        try:
            training = await find_training(client, text)
            if training.state in TERMINAL_STATES:
                progress.update(task, completed=1.0, description=_word(training))
                return training
            done, stage = await _progress(client, training)
            progress.update(task, completed=done, description=stage)
        except RpcFailure as failure:
            if not _is_passing(failure, elapsed_s):
                raise
        await asyncio.sleep(_POLL_S)
    raise CliError(f"{text} has not ended after {timeout_s:.0f} s; it goes on.", ExitCode.TIMED_OUT)


async def _progress(client: "Client", training: "Training") -> tuple[float, str]:
    from mltrainer.scheduler.v1.resources_pb2 import Training

    if training.state != Training.STATE_PLACED:
        return 0.0, f"{_word(training)} {training.reason}".strip()
    attempts = await list_attempts(client, training.name)
    if not attempts:
        return 0.0, _word(training)
    return attempts[-1].progress, f"attempt {len(attempts)}: {_stage(attempts[-1])}"


def _stage(attempt: "Attempt") -> str:
    search = attempt.search
    if not attempt.HasField("search") or not search.trials_total:
        return attempt.stage or "starting"
    best = f", best {search.best_objective:.4g}" if search.HasField("best_objective") else ""
    return f"{attempt.stage}, {search.trials_done} of {search.trials_total} trials{best}"


def _word(training: "Training") -> str:
    return type(training).State.Name(training.state).removeprefix("STATE_").lower()


def _is_passing(failure: Exception, elapsed_s: float) -> bool:
    import grpc

    code = getattr(failure, "code", None)
    is_on_its_way = code is grpc.StatusCode.NOT_FOUND and elapsed_s < _GRACE_S
    return is_on_its_way or code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
