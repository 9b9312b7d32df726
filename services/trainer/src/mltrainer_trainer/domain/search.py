"""Chooses a model with data from before the first test only, and keeps account of every try."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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


class SkipReason(StrEnum):
    """Why a model was not tried."""

    UNAVAILABLE = "UNAVAILABLE"
    FEATURES_MISSING = "FEATURES_MISSING"
    TOO_FEW_ROWS = "TOO_FEW_ROWS"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"


@dataclass(frozen=True, slots=True)
class SkippedModel:
    """A model that was asked for and not tried."""

    catalogue_id: str
    reason: SkipReason
    detail: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration evaluated on the validation fold; `objective` is its mean squared error there."""

    number: int
    catalogue_id: str
    parameters: Parameters
    seed: int
    objective: float
    metrics: dict[str, float]
    cpu_seconds: float
    configuration_digest: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is."""

    stage: str
    done: int
    total: int
    detail: str


@dataclass(frozen=True, slots=True)
class Hooks:
    """How a training talks to what started it; `cpu_seconds` reads the CPU time used so far."""

    on_progress: Callable[[Progress], None] = field(default=lambda _progress: None)
    is_cancelled: Callable[[], bool] = field(default=lambda: False)
    cpu_seconds: Callable[[], float] = field(default=lambda: 0.0)

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
            configuration_digest=self._digest(candidate.entry, parameters),
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
