"""Evaluates one configuration on the validation folds: in this process, or in one of several workers."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

import numpy as np

from mltrainer_trainer.domain.catalogue import Parameters
from mltrainer_trainer.domain.cpu_budget import MARGIN
from mltrainer_trainer.domain.losses_by_month import is_beaten, monthly_losses
from mltrainer_trainer.domain.metrics import OutOfSample, joined
from mltrainer_trainer.domain.objectives import score
from mltrainer_trainer.domain.search import (
    Candidate,
    MonthlyLoss,
    Trial,
    TrialFailedError,
    TrialFailure,
    TrialState,
)
from mltrainer_trainer.domain.training_data import Integers, TrainingData
from mltrainer_trainer.domain.walk_forward import Fold

TOO_LITTLE_LEFT = "it would leave too little to test what was tried before"


@dataclass(frozen=True, slots=True)
class TrialTask:
    """A configuration to evaluate; what it comes out as depends on nothing that ends later than it begins.

    Attributes:
        is_default: Whether the guards look at the model first; a default is not pruned for being behind.
        allowance_s: CPU time it may take; infinite where it is needed whatever it takes.
        incumbent: Monthly losses of what it must not be behind of; none where there is nothing yet.
    """

    number: int
    catalogue_id: str
    parameters: Parameters
    configuration_digest: str
    is_default: bool
    allowance_s: float = inf
    incumbent: tuple[MonthlyLoss, ...] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Evaluated:
    """A trial with its predictions by fold; none where it is not complete."""

    trial: Trial
    parts: tuple[OutOfSample, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class TrialBench:
    """What all trials of a study share."""

    candidates: Sequence[Candidate]
    data: TrainingData
    folds: Sequence[Fold]
    seed: int
    guard: Callable[[Candidate], None]
    cpu_seconds: Callable[[], float]

    def evaluate(self, task: TrialTask) -> Evaluated:
        """Evaluates a configuration, on fewer folds where it is behind or its further ones cost too much.

        Raises:
            LeakFoundError: the guards refuse the model.
        """
        candidate = next(it for it in self.candidates if it.entry.id == task.catalogue_id)
        started = self.cpu_seconds()
        parts: list[OutOfSample] = []
        state, detail = TrialState.COMPLETE, ""
        try:
            if task.is_default:
                self.guard(candidate)
            fitting = self.cpu_seconds()
            for fold in self.folds:
                parts.append(candidate.test(self.data, fold, task.parameters, self.seed))
                now = self.cpu_seconds()
                detail = self._why_stopped(task, parts, now - started, now - fitting)
                if detail:
                    state = TrialState.PRUNED
                    break
        except TrialFailedError as error:
            state, detail = TrialState.FAILED, f"{error.reason}: {error.detail}"
        trial = self._scored(unscored(task, self.seed, state, detail), parts)
        trial = replace(trial, cpu_seconds=self.cpu_seconds() - started)
        return Evaluated(trial, tuple(parts) if state is TrialState.COMPLETE else ())

    def _why_stopped(
        self, task: TrialTask, parts: list[OutOfSample], taken_s: float, fitting_s: float
    ) -> str:
        """Says why a trial ends after some of its folds; nothing where it goes on."""
        left = len(self.folds) - len(parts)
        if left and not task.is_default and task.incumbent is not None:
            losses = monthly_losses(months_of(self.data), joined(parts))
            if is_beaten(losses, task.incumbent):
                return f"behind after {len(parts)} of {len(self.folds)} folds"
        if left and taken_s + MARGIN * left * fitting_s / len(parts) > task.allowance_s:
            return TOO_LITTLE_LEFT
        return ""

    def _scored(self, trial: Trial, parts: list[OutOfSample]) -> Trial:
        if trial.state is TrialState.FAILED:
            return trial
        result = joined(parts)
        return replace(
            trial,
            objective=float(result.losses.mean()),
            metrics=score(result, self.data.target, self.data.horizon_bars),
            monthly_losses=monthly_losses(months_of(self.data), result),
        )


class TrialWorkers(Protocol):
    """Evaluates up to `count` configurations at a time."""

    @property
    def count(self) -> int:
        """How many may be begun before one is taken."""
        ...

    def begin(self, task: TrialTask) -> None:
        """Takes a task on."""
        ...

    def take(self) -> Evaluated:
        """Waits for the next that ends, in whatever order they do.

        Raises:
            LeakFoundError: the guards refuse the model.
            TrainingCancelledError: the training shall stop.
        """
        ...


class OneByOne:
    """Evaluates in this process."""

    count = 1

    def __init__(self, bench: TrialBench) -> None:
        self._bench = bench
        self._tasks: deque[TrialTask] = deque()

    def begin(self, task: TrialTask) -> None:
        """Takes a task on."""
        self._tasks.append(task)

    def take(self) -> Evaluated:
        """Evaluates the first of them."""
        return self._bench.evaluate(self._tasks.popleft())


@contextmanager
def one_by_one(bench: TrialBench) -> Iterator[TrialWorkers]:
    """Evaluates in this process."""
    yield OneByOne(bench)


def unscored(task: TrialTask, seed: int, state: TrialState, detail: str) -> Trial:
    """Returns a trial of which only the end is known."""
    parameters, digest = dict(task.parameters), task.configuration_digest
    return Trial(task.number, task.catalogue_id, parameters, seed, inf, {}, 0.0, digest, state, detail)


def failed(task: TrialTask, seed: int, reason: TrialFailure, detail: str, cpu_seconds: float) -> Evaluated:
    """Returns what becomes of a configuration that has ended its worker."""
    trial = unscored(task, seed, TrialState.FAILED, f"{reason}: {detail}")
    return Evaluated(replace(trial, cpu_seconds=cpu_seconds))


def months_of(data: TrainingData) -> Integers:
    """Returns the month of each date, counted from January 1970."""
    times = np.unique(data.event_time).astype("datetime64[us]")
    return np.asarray(times.astype("datetime64[M]").astype(np.int64))
