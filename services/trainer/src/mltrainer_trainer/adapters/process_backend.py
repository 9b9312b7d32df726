"""Executes each attempt as processes of its own on this machine."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mltrainer_trainer.adapters.attempt_directory import (
    AttemptDirectory,
    directories,
    directory_of,
    highest_token,
)
from mltrainer_trainer.adapters.gpu_devices import assign_devices
from mltrainer_trainer.adapters.processes import (
    Children,
    ProcessExit,
    ProcessId,
    is_alive,
    measure_tree,
    signal_group,
    spawn,
    start_mark,
)
from mltrainer_trainer.application.ports import Launch, LaunchError, StaleLaunchError
from mltrainer_trainer.domain.attempt import Attempt, AttemptLimits, Placement, Usage
from mltrainer_trainer.domain.execution import Absent, Ended, EndReason, Executing, Observation
from mltrainer_trainer.domain.workers import WORKER_NODE

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "ARROW_IO_THREADS",
)
_CPU_MARGIN_S = 60.0
ATTEMPT_PROGRAM = (sys.executable, "-m", "mltrainer_trainer.attempt")


@dataclass(frozen=True, slots=True)
class ProcessBackend:
    """Starts a program with the directory of its attempt, in a session of its own.

    Attributes:
        root: Holds a directory per attempt.
        environment: What the processes see, before their limits on threads and GPUs.
        encode_order: Turns a launch into the contract's order.
        program: What is executed; it says in `process.json` who it is before all that takes time.
        gpus: GPUs of the machine.
        gpu_type: Their model.
        output_limit_bytes: Output beyond it is cut at its beginning.
        scratch_limit_bytes: What the files of an attempt may take together.
    """

    root: Path
    environment: Mapping[str, str]
    encode_order: Callable[[Launch], bytes]
    program: tuple[str, ...] = ATTEMPT_PROGRAM
    gpus: float = 0.0
    gpu_type: str = ""
    output_limit_bytes: int = 16 << 20
    scratch_limit_bytes: int = 4 << 30
    children: Children = field(default_factory=Children)

    async def start(self, launch: Launch) -> Observation:
        """Starts all workers of an attempt or none; what was started before is returned instead."""
        return await asyncio.to_thread(self._start, launch)

    def _start(self, launch: Launch) -> Observation:
        placement, directory = launch.placement, directory_of(self.root, launch.placement)
        known = directory.process()
        if known is not None:
            return self._look(directory, known)
        if highest_token(self.root, placement.training) > placement.fencing_token:
            raise StaleLaunchError(f"a later attempt of {placement.training} was started before")
        if len(set(placement.worker_nodes)) > 1:
            raise LaunchError("a gang on several nodes needs a cluster that executes it, such as Kubernetes")
        devices = self._free_devices(placement.limits)
        try:
            directory.create(self.encode_order(launch), devices)
            pid = spawn(
                self._arguments(placement, directory),
                self._environment(placement, devices) | {"TMPDIR": str(directory.scratch)},
                directory.log_file,
            )
        except OSError as error:
            directory.remove()
            raise LaunchError(f"no process can be started: {error}") from error
        self.children.add(pid)
        # A child that is not reaped keeps its number, so the mark is its own; empty where it is over already.
        process = ProcessId(pid, start_mark(pid) or "")
        directory.write_process(process)
        return Executing(str(process))

    def _arguments(self, placement: Placement, directory: AttemptDirectory) -> tuple[str, ...]:
        program = (*self.program, str(directory.path))
        if placement.limits.workers == 1:
            return program
        return (
            sys.executable,
            "-m",
            "mltrainer_trainer.adapters.gang",
            ",".join(placement.worker_nodes or (placement.node,) * placement.limits.workers),
            *program,
        )

    def _environment(self, placement: Placement, devices: Mapping[int, float]) -> dict[str, str]:
        threads = str(max(1, int(placement.limits.cpus)))
        visible = ",".join(str(index) for index in sorted(devices))
        return {
            **self.environment,
            **dict.fromkeys(_THREAD_VARIABLES, threads),
            "CUDA_VISIBLE_DEVICES": visible,
            WORKER_NODE: placement.node,
        }

    def _free_devices(self, limits: AttemptLimits) -> dict[int, float]:
        if not limits.gpus:
            return {}
        living = [it for it in directories(self.root) if (process := it.process()) and is_alive(process)]
        return assign_devices(limits, self.gpus, self.gpu_type, [it.devices() for it in living])

    async def observe(self, attempt: Attempt) -> Observation:
        """Tells what became of an attempt, whoever started it."""
        directory = self._directory(attempt)
        process = _process_of(attempt, directory)
        return Absent() if process is None else self._look(directory, process)

    def _look(self, directory: AttemptDirectory, process: ProcessId) -> Observation:
        exited = self.children.ended(process)
        if exited is None:
            directory.bound_log(self.output_limit_bytes)
            return Executing(str(process))
        directory.clear_scratch()
        reason, message = _reason(exited), ""
        if (verdict := directory.verdict()) is not None:
            reason, message = verdict
        return Ended(reason, exited.code, exited.cpu_seconds, message, str(process))

    async def stop(self, attempt: Attempt, *, force: bool) -> None:
        """Asks all workers to end, or ends them; one that is over or absent stays so."""
        directory = self._directory(attempt)
        process = _process_of(attempt, directory)
        if process is not None and is_alive(process):
            directory.write_verdict(EndReason.CANCELLED)
            signal_group(process, signal.SIGKILL if force else signal.SIGTERM)

    async def measure(self, attempt: Attempt) -> Usage | None:
        """Measures what the workers use, and ends those that take more than they were given."""
        directory = self._directory(attempt)
        process = _process_of(attempt, directory)
        used = await asyncio.to_thread(measure_tree, process) if process is not None else None
        if process is None or used is None:
            return None
        excess = await asyncio.to_thread(self._excess, attempt.placement.limits, directory, *used)
        if excess is not None:
            directory.write_verdict(*excess)
            signal_group(process, signal.SIGKILL)
        return Usage(*used, datetime.now(UTC))

    def _excess(
        self, limits: AttemptLimits, directory: AttemptDirectory, cpu_seconds: float, memory_bytes: int
    ) -> tuple[EndReason, str] | None:
        """Says what the workers have taken too much of, all together."""
        held_bytes = limits.memory_bytes * limits.workers
        if 0 < held_bytes < memory_bytes:
            message = f"it holds {memory_bytes} bytes of memory; its allocation has {held_bytes}"
            return EndReason.OUT_OF_MEMORY, message
        if 0 < limits.cpu_seconds < cpu_seconds - _CPU_MARGIN_S:
            # The kernel limits each process; what its children use in all is seen here alone.
            return EndReason.FAILED, f"it has used {cpu_seconds:.0f} CPU seconds"
        kept_bytes = directory.scratch_bytes()
        if kept_bytes > self.scratch_limit_bytes:
            message = f"its files take {kept_bytes} bytes; it may have {self.scratch_limit_bytes}"
            return EndReason.DISK_EXCEEDED, message
        return None

    async def read_output(self, attempt: Attempt, limit_bytes: int) -> bytes:
        """Returns the end of what the workers have written; empty where nothing is left."""
        return self._directory(attempt).read_log(limit_bytes)

    async def discard(self, attempt: Attempt) -> None:
        """Removes what an ended attempt has left."""
        await asyncio.to_thread(self._directory(attempt).remove)

    def _directory(self, attempt: Attempt) -> AttemptDirectory:
        return directory_of(self.root, attempt.placement)


def _process_of(attempt: Attempt, directory: AttemptDirectory) -> ProcessId | None:
    if attempt.execution_id is not None:
        return ProcessId.parse(attempt.execution_id)
    return directory.process()


def _reason(exited: ProcessExit) -> EndReason:
    if exited.code is None:
        return EndReason.UNKNOWN
    return EndReason.FAILED if exited.code else EndReason.SUCCEEDED
