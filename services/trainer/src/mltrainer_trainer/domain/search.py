"""Chooses a model with data from before the first test only, and keeps account of every try."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from mltrainer_models import canonical_digest

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Parameters
from mltrainer_trainer.domain.errors import TrainerError
from mltrainer_trainer.domain.learners import (
    Fit,
    FitRequest,
    Learner,
    LearnerFactory,
    LearnerUnavailableError,
)
from mltrainer_trainer.domain.metrics import OutOfSample, joined, score
from mltrainer_trainer.domain.training_data import Rows, TrainingData
from mltrainer_trainer.domain.walk_forward import Fold


class TrainingCancelledError(TrainerError):
    """Someone asked the training to stop."""


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"


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
        cpu_seconds: Reads the CPU time used so far, with that of what was recalled.
        find_trial: Finds a finished trial by its configuration digest.
        keep_trial: Told every trial once, pruned, failed and found ones too, in order of their number and
            before the next one begins.
    """

    on_progress: Callable[[Progress], None] = field(default=lambda _progress: None)
    is_cancelled: Callable[[], bool] = field(default=lambda: False)
    cpu_seconds: Callable[[], float] = field(default=lambda: 0.0)
    find_trial: Callable[[str], Trial | None] = field(default=lambda _digest: None)
    keep_trial: Callable[[Trial], None] = field(default=lambda _trial: None)

    def report(self, stage: str, done: int, total: int, detail: str) -> None:
        """Tells the progress.

        Raises:
            TrainingCancelledError: the training shall stop.
        """
        if self.is_cancelled():
            raise TrainingCancelledError(stage)
        self.on_progress(Progress(stage, done, total, detail))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that can be tried: its entry and its code."""

    entry: CatalogueEntry
    learner: Learner

    def fit(self, data: TrainingData, rows: Rows, parameters: Parameters, seed: int) -> Fit:
        """Fits on some rows of the columns the model reads."""
        matrix = data.matrix[rows]
        columns = data.columns(self.entry.columns(data.feature_names))
        if len(columns) < len(data.feature_names):
            matrix = np.ascontiguousarray(matrix[:, columns])
        settings = {**self.entry.fixed, **parameters}
        return self.learner(FitRequest(matrix, data.labels[rows], settings, data.horizon_bars, seed))

    def test(self, data: TrainingData, fold: Fold, parameters: Parameters, seed: int) -> OutOfSample:
        """Fits on the training rows of a fold and predicts its test rows."""
        fit = self.fit(data, fold.train, parameters, seed)
        columns = data.columns(self.entry.columns(data.feature_names))
        predictions = fit.predict(np.ascontiguousarray(data.matrix[fold.test][:, columns]))
        mean = np.full(len(fold.test), data.labels[fold.train].mean())
        return OutOfSample(data.date[fold.test], data.labels[fold.test], predictions, mean)


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


@dataclass(frozen=True, slots=True)
class Search:
    """Evaluates configurations on the validation folds, always with the same data and seed."""

    candidates: Sequence[Candidate]
    data: TrainingData
    folds: Sequence[Fold]
    seed: int
    context_digest: str
    hooks: Hooks

    def execute(self, max_trials: int, cpu_limit_s: float) -> list[Trial]:
        """Evaluates the default of each candidate, then drawn configurations of the best ones in turn.

        Defaults are always evaluated. Drawing ends after `max_trials` trials in all or once `cpu_limit_s` is
        used.
        """
        trials: list[Trial] = []
        total = max(max_trials, len(self.candidates))
        for candidate in self.candidates:
            self.hooks.report("trials", len(trials), total, candidate.entry.id)
            trials.append(self._evaluate(candidate, candidate.entry.defaults, len(trials) + 1))
        for candidate, parameters in self._draws(tuple(trials)):
            if len(trials) >= max_trials or self.hooks.cpu_seconds() >= cpu_limit_s:
                break
            self.hooks.report("trials", len(trials), total, candidate.entry.id)
            trials.append(self._evaluate(candidate, parameters, len(trials) + 1))
        return trials

    def _draws(self, defaults: Sequence[Trial]) -> Iterator[tuple[Candidate, Parameters]]:
        by_id = {c.entry.id: c for c in self.candidates if c.entry.search_space}
        ranked = sorted(defaults, key=lambda trial: (trial.objective, trial.number))
        order = [by_id[trial.catalogue_id] for trial in ranked if trial.catalogue_id in by_id]
        random = np.random.default_rng(self.seed)
        while order:
            for candidate in order:
                yield candidate, candidate.entry.draw_parameters(random)

    def _evaluate(self, candidate: Candidate, parameters: Parameters, number: int) -> Trial:
        digest = self._digest(candidate.entry, parameters)
        found = self.hooks.find_trial(digest)
        trial = replace(found, number=number) if found else self._test(candidate, parameters, number, digest)
        self.hooks.keep_trial(trial)
        return trial

    def _test(self, candidate: Candidate, parameters: Parameters, number: int, digest: str) -> Trial:
        started = self.hooks.cpu_seconds()
        result = joined([candidate.test(self.data, fold, parameters, self.seed) for fold in self.folds])
        return Trial(
            number=number,
            catalogue_id=candidate.entry.id,
            parameters=dict(parameters),
            seed=self.seed,
            objective=float(result.squared_errors.mean()),
            metrics=score(result, self.data.target, self.data.horizon_bars),
            cpu_seconds=self.hooks.cpu_seconds() - started,
            configuration_digest=digest,
        )

    def _digest(self, entry: CatalogueEntry, parameters: Parameters) -> str:
        return canonical_digest(
            {
                "context": self.context_digest,
                "entry": entry.digest,
                "parameters": dict(parameters),
                "seed": self.seed,
            }
        )


def best_trial(trials: Sequence[Trial], catalogue_id: str | None = None) -> Trial:
    """Takes the smallest objective, the earlier trial of equals, over all models or of one."""
    eligible = [trial for trial in trials if catalogue_id in (None, trial.catalogue_id)]
    return min(eligible, key=lambda trial: (trial.objective, trial.number))
