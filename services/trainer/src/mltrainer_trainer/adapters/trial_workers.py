"""Evaluates trials in processes of their own, so that several go on at a time and a dying one ends alone."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from signal import Signals
from tempfile import TemporaryDirectory
from typing import Protocol

import structlog

from mltrainer_trainer.adapters.trial_worker import (
    AskedFit,
    DoneTrial,
    FoundLeak,
    KeptFit,
    WorkerReady,
    WorkerSetup,
    serve_trials,
    share_data,
)
from mltrainer_trainer.adapters.worker_account import (
    WorkerAccount,
    ended_cpu_seconds,
    process_cpu_seconds,
)
from mltrainer_trainer.domain.errors import TrainerError
from mltrainer_trainer.domain.leak_guards import LeakFoundError
from mltrainer_trainer.domain.learners import LearnerFactory
from mltrainer_trainer.domain.recall import Recall, Recalled
from mltrainer_trainer.domain.search import TrainingCancelledError, TrialFailure
from mltrainer_trainer.domain.trials import Evaluated, TrialBench, TrialTask, TrialWorkers, failed, one_by_one

_log = structlog.get_logger()
_CHECK_S = 0.25
# Whoever computes uses more of a core than this.
_LEAST_CPU_SHARE = 0.05


class WorkerStartError(TrainerError):
    """A worker ended before it had anything to do."""


class FinishedFits(Protocol):
    """Knows what earlier attempts have finished, and is told what this one does."""

    def find_fit(self, key: str) -> Recalled | None:
        """Returns what was kept."""
        ...

    def keep_fit(self, key: str, result: Recalled) -> None:
        """Keeps a result."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What workers may take.

    Attributes:
        count: Trials at a time.
        memory_bytes: Of each; 0 means unlimited.
        stall_s: So long one may compute without using CPU time.
    """

    count: int
    memory_bytes: int = 0
    stall_s: float = 300.0


@dataclass(frozen=True, slots=True)
class WorkerHooks:
    """How workers talk to the training; without `recall`, fits are neither kept nor recalled."""

    is_cancelled: Callable[[], bool]
    fits: FinishedFits
    recall: Recall | None
    account: WorkerAccount


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    task: TrialTask | None = None
    is_ready: bool = False
    begun_cpu_s: float = 0.0
    moved_s: float = 0.0
    moved_cpu_s: float = 0.0

    @property
    def pid(self) -> int:
        """Its number, once it was started."""
        return self.process.pid or 0


@contextmanager
def open_workers(
    bench: TrialBench, load: LearnerFactory, limits: WorkerLimits, hooks: WorkerHooks
) -> Iterator[TrialWorkers]:
    """Opens workers, which end with the context; data that cannot be shared is evaluated in this process."""
    with TemporaryDirectory(prefix="trials-", dir=Path.cwd()) as folder:
        try:
            shared = share_data(bench.data, Path(folder))
        except OSError as error:
            _log.warning("trials_one_by_one", error=str(error))
            with one_by_one(bench) as alone:
                yield alone
            return
        entries = {it.entry.id: it.entry for it in bench.candidates}
        recall = hooks.recall
        setup = WorkerSetup(
            shared, tuple(bench.folds), bench.seed, entries, load, recall, Path.cwd(), limits.memory_bytes
        )
        workers = ProcessTrialWorkers(setup, limits, hooks)
        _log.info("trials_in_parallel", workers=limits.count)
        try:
            yield workers
        finally:
            workers.close()


class ProcessTrialWorkers:
    """Starts a process when a task has none, and another one in the place of one that has died."""

    def __init__(self, setup: WorkerSetup, limits: WorkerLimits, hooks: WorkerHooks) -> None:
        self.count = limits.count
        self._setup = setup
        self._limits = limits
        self._hooks = hooks
        self._workers: list[_Worker] = []
        self._done: list[Evaluated] = []

    def begin(self, task: TrialTask) -> None:
        """Hands a task to a worker that has none."""
        worker = next((it for it in self._workers if it.task is None), None)
        if worker is not None and not worker.process.is_alive():
            self._end(worker)
            worker = None
        worker = worker or self._start()
        worker.task = task
        self._mark(worker)
        with suppress(OSError):
            # One that has died meanwhile is met when it is waited for.
            worker.connection.send(task)

    def take(self) -> Evaluated:
        """Waits for the next that ends.

        Raises:
            LeakFoundError: the guards refuse the model.
            TrainingCancelledError: the training shall stop.
            WorkerStartError: no worker can be started.
        """
        while not self._done:
            busy = [it for it in self._workers if it.task is not None]
            ready = wait([it.connection for it in busy], _CHECK_S)
            if self._hooks.is_cancelled():
                raise TrainingCancelledError("trials")
            for worker in busy:
                if worker.connection in ready:
                    self._hear(worker)
                else:
                    self._watch(worker)
        return self._done.pop(0)

    def close(self) -> None:
        """Ends all workers."""
        for worker in list(self._workers):
            self._end(worker)

    def _start(self) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve_trials, args=(theirs, self._setup), daemon=True)
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        self._hooks.account.charge(worker.pid, 0.0)
        return worker

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker, None, "")
            return
        match message:
            case WorkerReady():
                worker.is_ready = True
            case AskedFit(key):
                worker.connection.send(self._hooks.fits.find_fit(key))
            case KeptFit(key, content, cpu_seconds):
                self._hooks.fits.keep_fit(key, Recalled(content, cpu_seconds))
            case FoundLeak(leak, detail):
                raise LeakFoundError(leak, detail)
            case DoneTrial():
                self._finish(worker, message)

    def _finish(self, worker: _Worker, done: DoneTrial) -> None:
        worker.task = None
        self._hooks.account.charge(worker.pid, process_cpu_seconds(worker.pid))
        if self._hooks.recall is not None:
            self._hooks.recall.meter.add(done.meter)
        self._done.append(done.evaluated)

    def _mark(self, worker: _Worker) -> None:
        worker.begun_cpu_s = worker.moved_cpu_s = process_cpu_seconds(worker.pid)
        worker.moved_s = time.monotonic()

    def _watch(self, worker: _Worker) -> None:
        """Ends a worker that takes more than its trial may, or nothing at all."""
        now_s, used_s = time.monotonic(), process_cpu_seconds(worker.pid)
        allowance_s = worker.task.allowance_s if worker.task else inf
        if used_s - worker.moved_cpu_s >= _LEAST_CPU_SHARE * (now_s - worker.moved_s):
            worker.moved_s, worker.moved_cpu_s = now_s, used_s
        elif now_s - worker.moved_s >= self._limits.stall_s:
            detail = f"it has computed for {self._limits.stall_s:g} s without using CPU time"
            self._bury(worker, TrialFailure.STALLED, detail)
            return
        # What its start takes counts, too, and so does what it may take until it is looked at again.
        if used_s - worker.begun_cpu_s + _CHECK_S > allowance_s:
            detail = f"it has used the {allowance_s:.1f} CPU seconds that it might take"
            self._bury(worker, TrialFailure.OUT_OF_BUDGET, detail)

    def _bury(self, worker: _Worker, reason: TrialFailure | None, detail: str) -> None:
        """Ends a worker, and its trial with it."""
        used_s = self._end(worker, is_patient=reason is None) - worker.begun_cpu_s
        code = worker.process.exitcode
        if not worker.is_ready and reason is None:
            raise WorkerStartError(f"a worker ended with exit code {code} before it was ready")
        if worker.task is not None:
            how = detail or f"its process ended by {_name(code)}"
            _log.warning("trial_died", model=worker.task.catalogue_id, detail=how)
            reason = reason or TrialFailure.DIED
            self._done.append(failed(worker.task, self._setup.seed, reason, how, max(0.0, used_s)))

    def _end(self, worker: _Worker, *, is_patient: bool = False) -> float:
        """Ends a worker and returns the CPU time that it has used."""
        before_s = ended_cpu_seconds()
        if is_patient:
            # Its end of the pipe is closed: how it ends by itself is not to be covered by a kill.
            worker.process.join(_CHECK_S)
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        used_s = ended_cpu_seconds() - before_s
        self._hooks.account.close(worker.pid, used_s)
        self._workers.remove(worker)
        return used_s


def worker_count(cpus: float, memory_bytes: int, least_bytes: int) -> int:
    """Counts the workers of an allocation: one per core, as far as each has memory beside this process."""
    count = max(1, int(cpus))
    return count if not memory_bytes else max(1, min(count, memory_bytes // least_bytes - 1))


def _name(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return Signals(-code).name
    return f"exit code {code}"
