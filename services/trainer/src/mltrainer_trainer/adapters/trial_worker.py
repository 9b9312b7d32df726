"""What the process of a worker does: it evaluates one trial after the other, and ends with its parent.

Messages are pickled by the standard library; they come from processes that share code, user and pipe.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltrainer_trainer.adapters.process_limits import limit_memory
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.leak_guards import CandidateGuard, Leak, LeakFoundError
from mltrainer_trainer.domain.learners import LearnerFactory
from mltrainer_trainer.domain.recall import FitResults, Recall, Recalled, ReuseMeter, recalling
from mltrainer_trainer.domain.search import Candidate
from mltrainer_trainer.domain.training_data import TrainingData
from mltrainer_trainer.domain.trials import Evaluated, TrialBench, TrialTask
from mltrainer_trainer.domain.walk_forward import Fold

_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True, slots=True)
class SharedData:
    """Training data whose arrays are files that all workers map, and none of them can write."""

    folder: Path
    arrays: tuple[str, ...]
    facts: Mapping[str, Any]

    def open(self) -> TrainingData:
        """Maps the files."""
        arrays: dict[str, Any] = {
            name: np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="r")) for name in self.arrays
        }
        return TrainingData(**self.facts, **arrays)


def share_data(data: TrainingData, folder: Path) -> SharedData:
    """Writes the arrays of training data to files."""
    content = {it.name: getattr(data, it.name) for it in fields(data)}
    arrays = tuple(name for name, it in content.items() if isinstance(it, np.ndarray))
    for name in arrays:
        np.save(folder / f"{name}.npy", content.pop(name), allow_pickle=False)
    return SharedData(folder, arrays, content)


@dataclass(frozen=True, eq=False, slots=True)
class WorkerSetup:
    """What a worker is told once."""

    data: SharedData
    folds: tuple[Fold, ...]
    seed: int
    entries: Mapping[str, CatalogueEntry]
    load: LearnerFactory
    recall: Recall | None
    directory: Path
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The worker has its data."""


@dataclass(frozen=True, slots=True)
class AskedFit:
    """The worker needs to know whether this training has finished a fit; the answer is what was kept."""

    key: str


@dataclass(frozen=True, eq=False, slots=True)
class KeptFit:
    """The worker has finished a fit."""

    key: str
    content: NDArray[Any]
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class FoundLeak:
    """The guards refuse a model."""

    leak: Leak
    detail: str


@dataclass(frozen=True, eq=False, slots=True)
class DoneTrial:
    """A trial has ended; `meter` counts what was recalled for it."""

    evaluated: Evaluated
    meter: ReuseMeter


class PipedFits:
    """Fits of this training, which its first process knows, before those of the machine."""

    def __init__(self, connection: Connection, others: FitResults) -> None:
        self._connection = connection
        self._others = others

    def find(self, key: str) -> Recalled | None:
        """Returns what was kept."""
        self._connection.send(AskedFit(key))
        found: Recalled | None = self._connection.recv()
        return found or self._others.find(key)

    def keep(self, key: str, result: Recalled) -> None:
        """Keeps a result for later trainings, and for a later attempt of this one."""
        self._others.keep(key, result)
        self._connection.send(KeptFit(key, result.content, result.cpu_seconds))

    @contextmanager
    def lead(self, key: str) -> Iterator[object]:
        """Has one process at a time compute."""
        with self._others.lead(key) as leads:
            yield leads


def serve_trials(connection: Connection, setup: WorkerSetup) -> None:
    """Evaluates what it is sent until nobody sends any more."""
    follow_parent()
    os.chdir(setup.directory)
    limit_memory(setup.memory_bytes)
    data = setup.data.open()
    guard = CandidateGuard(data, setup.folds[0], setup.seed)
    meter = ReuseMeter()
    load, cpu_seconds = _loading(setup, connection, meter)
    candidates: dict[str, Candidate] = {}
    connection.send(WorkerReady())
    while True:
        try:
            task: TrialTask = connection.recv()
        except EOFError:
            return
        name = task.catalogue_id
        if name not in candidates:
            candidates[name] = Candidate(setup.entries[name], load(setup.entries[name]))
        bench = TrialBench([candidates[name]], data, setup.folds, setup.seed, guard, cpu_seconds)
        before = replace(meter)
        try:
            connection.send(DoneTrial(bench.evaluate(task), meter.since(before)))
        except LeakFoundError as error:
            connection.send(FoundLeak(error.leak, error.detail))


def _loading(
    setup: WorkerSetup, connection: Connection, meter: ReuseMeter
) -> tuple[LearnerFactory, Callable[[], float]]:
    if setup.recall is None:
        return setup.load, time.process_time
    recall = replace(setup.recall, results=PipedFits(connection, setup.recall.results), meter=meter)
    return recalling(setup.load, recall), recall.charged_cpu_seconds


def follow_parent() -> None:
    """Ends this process with its parent, however that ends; what asks the parent to end is left to it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        # Also where a library holds the interpreter's lock.
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
