"""What a search is made of: candidates, trials, and how a training talks to what started it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Parameter, Parameters
from mltrainer_trainer.domain.errors import TrainerError
from mltrainer_trainer.domain.learners import (
    BadTrainingInputError,
    FitFailedError,
    Learner,
    LearnerFactory,
    LearnerUnavailableError,
)
from mltrainer_trainer.domain.metrics import OutOfSample
from mltrainer_trainer.domain.objectives import OBJECTIVES
from mltrainer_trainer.domain.panel_fits import PanelFit, Settings
from mltrainer_trainer.domain.readings import READINGS
from mltrainer_trainer.domain.training_data import Rows, TrainingData
from mltrainer_trainer.domain.walk_forward import Fold

if TYPE_CHECKING:
    from mltrainer_trainer.domain.trials import TrialBench, TrialWorkers

TRAINING_BARS = "training_bars"
"""A parameter of every searched model: how many of the latest dates it is fitted on; all where 0."""

_LONGEST_DETAIL = 300
_T = TypeVar("_T")


class TrainingCancelledError(TrainerError):
    """Someone asked the training to stop."""


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"


class TrialFailure(StrEnum):
    """Why a model gave nothing on a fold."""

    RAISED = "RAISED"
    BAD_INPUT = "BAD_INPUT"
    DIVERGED = "DIVERGED"
    CLASS_MISSING = "CLASS_MISSING"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    DIED = "DIED"
    STALLED = "STALLED"
    OUT_OF_BUDGET = "OUT_OF_BUDGET"


class SkipReason(StrEnum):
    """Why a model was not tried, or gave nothing."""

    UNAVAILABLE = "UNAVAILABLE"
    FEATURES_MISSING = "FEATURES_MISSING"
    TOO_FEW_ROWS = "TOO_FEW_ROWS"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class SkippedModel:
    """A model that was asked for and not tried."""

    catalogue_id: str
    reason: SkipReason
    detail: str


@dataclass(frozen=True, slots=True)
class MonthlyLoss:
    """Mean squared error over the rows of one month of validation; months are counted from January 1970."""

    month: int
    loss: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration evaluated on the validation folds.

    Attributes:
        objective: Mean squared error over the folds it was evaluated on; infinite where it failed.
        metrics: Scores over these folds; `sharpe`, per holding period, is what later trainings of the study
            deflate by.
        cpu_seconds: What it took, or once took where it was replayed.
        configuration_digest: Names the configuration together with data, evaluation and seed.
        state: Only complete trials can be chosen; all count.
        detail: Why it was pruned or failed.
        monthly_losses: In time order; what pruning and the probability of overfitting are computed from.
    """

    number: int
    catalogue_id: str
    parameters: Parameters
    seed: int
    objective: float
    metrics: dict[str, float]
    cpu_seconds: float
    configuration_digest: str
    state: TrialState = TrialState.COMPLETE
    detail: str = ""
    monthly_losses: tuple[MonthlyLoss, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is."""

    stage: str
    done: int
    total: int
    detail: str
    best_objective: float | None = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """How a training talks to what started it.

    A training that was killed repeats no finished trial if `find_trial` knows what `keep_trial` was told:
    the search takes the same course again, each trial is named by its `configuration_digest`, and a finished
    one of that name is taken as it is, CPU time included. Predictions are not part of a trial: learners
    recall them, or they are computed again for the few models that are tested.

    Attributes:
        on_progress: Told at each step; `best_objective` is that of the search so far.
        is_cancelled: Asked at each step.
        cpu_seconds: Reads the CPU time used so far, with that of what was recalled or found.
        find_trial: Finds a finished trial by its configuration digest.
        keep_trial: Told every trial once, pruned, failed and found ones too, when it ends; one by one, that
            is in order of their number and before the next one begins.
        open_workers: Where trials are evaluated; in this process where it is None.
    """

    on_progress: Callable[[Progress], None] = field(default=lambda _progress: None)
    is_cancelled: Callable[[], bool] = field(default=lambda: False)
    cpu_seconds: Callable[[], float] = field(default=lambda: 0.0)
    find_trial: Callable[[str], Trial | None] = field(default=lambda _digest: None)
    keep_trial: Callable[[Trial], None] = field(default=lambda _trial: None)
    open_workers: "Callable[[TrialBench], AbstractContextManager[TrialWorkers]] | None" = None

    def report(
        self, stage: str, done: int, total: int, detail: str, best_objective: float | None = None
    ) -> None:
        """Tells the progress.

        Raises:
            TrainingCancelledError: the training shall stop.
        """
        if self.is_cancelled():
            raise TrainingCancelledError(stage)
        self.on_progress(Progress(stage, done, total, detail, best_objective))


class TrialFailedError(TrainerError):
    """A model could not be fitted, or what it predicts is no number."""

    def __init__(self, catalogue_id: str, reason: TrialFailure, detail: str) -> None:
        super().__init__(f"{catalogue_id}: {reason}: {detail}")
        self.catalogue_id = catalogue_id
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that can be tried: its entry and its code."""

    entry: CatalogueEntry
    learner: Learner

    def fit(self, data: TrainingData, rows: Rows, parameters: Parameters, seed: int) -> PanelFit:
        """Fits on some rows of the columns the model reads, the latest `training_bars` dates of them.

        Raises:
            TrialFailedError: it cannot, whatever its library raises.
        """
        settings = {**self.entry.fixed, **parameters}
        rows = latest_rows(data, rows, settings.pop(TRAINING_BARS, 0))
        labels = data.labels[rows]
        if OBJECTIVES[data.target].has_classes and len(np.unique(labels)) < 2 and not self.entry.is_baseline:
            detail = f"all {len(labels)} training labels are {labels[0]:g}"
            raise TrialFailedError(self.entry.id, TrialFailure.CLASS_MISSING, detail)
        read = READINGS[self.entry.task]
        return self._attempted(lambda: read(self.entry, self.learner, data, rows, Settings(settings, seed)))

    def test(self, data: TrainingData, fold: Fold, parameters: Parameters, seed: int) -> OutOfSample:
        """Fits on the training rows of a fold and predicts its test rows.

        Raises:
            TrialFailedError: it cannot, or a prediction is not finite.
        """
        fit = self.fit(data, fold.train, parameters, seed)
        objective = OBJECTIVES[data.target]
        rows = apart(data, fold.test) if objective.holds_apart else fold.test
        predictions = self._attempted(lambda: fit.predict(data, rows))
        broken = int((~np.isfinite(predictions)).sum())
        if broken:
            detail = f"{broken} of {len(predictions)} predictions are not finite"
            raise TrialFailedError(self.entry.id, TrialFailure.DIVERGED, detail)
        mean = np.full(len(rows), data.labels[fold.train].mean())
        return OutOfSample(
            data.date[rows], data.labels[rows], predictions, mean, data.symbol[rows], objective.loss
        )

    def _attempted(self, step: Callable[[], _T]) -> _T:
        try:
            return step()
        except MemoryError as error:
            raise TrialFailedError(
                self.entry.id, TrialFailure.OUT_OF_MEMORY, "it needs more memory"
            ) from error
        except BadTrainingInputError as error:
            raise TrialFailedError(self.entry.id, TrialFailure.BAD_INPUT, error.reason) from error
        except FitFailedError as error:
            raise TrialFailedError(self.entry.id, TrialFailure.RAISED, error.reason) from error
        except TrainerError:
            raise
        except Exception as error:
            # Libraries raise what they like; the study goes on without the trial.
            detail = f"{type(error).__name__}: {error}"[:_LONGEST_DETAIL]
            raise TrialFailedError(self.entry.id, TrialFailure.RAISED, detail) from error


def apart(data: TrainingData, rows: Rows) -> Rows:
    """Keeps the rows of every so many-th date as labels are long."""
    kept: Rows = rows[data.date[rows] % data.horizon_bars == 0]
    return kept


def latest_rows(data: TrainingData, rows: Rows, bars: Parameter) -> Rows:
    """Keeps the rows of the last so many dates; all where that is 0."""
    if not isinstance(bars, int) or bars <= 0 or not len(rows):
        return rows
    latest: Rows = rows[data.date[rows] > data.date[rows[-1]] - bars]
    return latest


def load_candidates(
    entries: Sequence[CatalogueEntry], load: LearnerFactory, data: TrainingData, smallest_training: int
) -> tuple[list[Candidate], list[SkippedModel]]:
    """Separates the models that can be tried from those that cannot, with the reason."""
    candidates: list[Candidate] = []
    skipped: list[SkippedModel] = []
    for entry in entries:
        missing = entry.missing_features(data.feature_names)
        if missing:
            skipped.append(SkippedModel(entry.id, SkipReason.FEATURES_MISSING, ", ".join(missing)))
        elif smallest_training < entry.min_rows:
            detail = f"{smallest_training} rows to train on, {entry.min_rows} needed"
            skipped.append(SkippedModel(entry.id, SkipReason.TOO_FEW_ROWS, detail))
        else:
            try:
                candidates.append(Candidate(entry, load(entry)))
            except LearnerUnavailableError as error:
                skipped.append(SkippedModel(entry.id, SkipReason.UNAVAILABLE, error.reason))
    return candidates, skipped
