"""Executes each attempt as a process of its own on this machine."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mltrainer_trainer.adapters.attempt_directory import AttemptDirectory, directory_of
from mltrainer_trainer.adapters.processes import (
    Children,
    is_alive,
    measure_tree,
    signal_group,
    spawn,
    start_mark,
)
from mltrainer_trainer.application.ports import Launch, LaunchError
from mltrainer_trainer.domain.attempt import Attempt, ProcessExit, ProcessId, Usage

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "ARROW_IO_THREADS",
)


@dataclass(frozen=True, slots=True)
class ProcessBackend:
    """Starts `python -m mltrainer_trainer.attempt DIRECTORY`, one process and session per attempt.

    Attributes:
        root: Holds a directory per attempt.
        environment: What the processes see, before their limits on threads.
        encode_order: Turns a launch into the contract's order.
    """

    root: Path
    environment: Mapping[str, str]
    encode_order: Callable[[Launch], bytes]
    module: str = "mltrainer_trainer.attempt"
    children: Children = field(default_factory=Children)

    async def find(self, attempt: Attempt) -> ProcessId | None:
        """Returns the living process of an attempt, whoever started it."""
        process = self._directory(attempt).process()
        return process if process is not None and is_alive(process) else None

    async def start(self, launch: Launch) -> ProcessId:
        """Starts the process of an attempt; one that lives already is returned instead."""
        return await asyncio.to_thread(self._start, launch)

    def _start(self, launch: Launch) -> ProcessId:
        directory = directory_of(self.root, launch.placement)
        known = directory.process()
        if known is not None and is_alive(known):
            return known
        threads = str(max(1, int(launch.placement.limits.cpus)))
        environment = {**self.environment, **dict.fromkeys(_THREAD_VARIABLES, threads)}
        arguments = (sys.executable, "-m", self.module, str(directory.path))
        try:
            directory.create(self.encode_order(launch), time.monotonic() + launch.lease_s)
            pid = spawn(arguments, environment, directory.log_file)
        except OSError as error:
            raise LaunchError(f"no process can be started: {error}") from error
        self.children.add(pid)
        # A child that is not reaped keeps its number, so the mark is its own; empty where it is over already.
        return ProcessId(pid, start_mark(pid) or "")

    async def inspect(self, attempt: Attempt) -> ProcessExit | None:
        """Tells how the process ended; None while it lives."""
        return self.children.ended(attempt.process) if attempt.process else ProcessExit(None)

    async def terminate(self, attempt: Attempt, *, force: bool) -> None:
        """Asks the process and all its children to end, or ends them."""
        if attempt.process is not None:
            signal_group(attempt.process, signal.SIGKILL if force else signal.SIGTERM)

    async def renew_lease(self, attempt: Attempt, lease_s: float) -> None:
        """Lets the attempt execute for so long from now."""
        directory = self._directory(attempt)
        if directory.path.is_dir():
            directory.write_lease(time.monotonic() + lease_s)

    async def measure(self, attempt: Attempt) -> Usage | None:
        """Measures what the process and its children use; None where it is gone."""
        if attempt.process is None:
            return None
        used = await asyncio.to_thread(measure_tree, attempt.process)
        return Usage(*used, datetime.now(UTC)) if used else None

    async def discard(self, attempt: Attempt) -> None:
        """Removes what an ended attempt has left."""
        await asyncio.to_thread(self._directory(attempt).remove)

    def _directory(self, attempt: Attempt) -> AttemptDirectory:
        return directory_of(self.root, attempt.placement)
