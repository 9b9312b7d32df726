"""Tests models walk-forward: refits them for each test fold and scores what they predict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mltrainer_trainer.domain.metrics import OutOfSample, joined, score, standard_errors
from mltrainer_trainer.domain.search import (
    Candidate,
    Hooks,
    SkippedModel,
    SkipReason,
    Trial,
    TrialFailedError,
)
from mltrainer_trainer.domain.selection import Selection, centre_of
from mltrainer_trainer.domain.training_data import DataProblemError, TrainingData
from mltrainer_trainer.domain.walk_forward import Fold


@dataclass(frozen=True, slots=True)
class FoldScore:
    """One model on one fold; times in microseconds since 1970."""

    first_test_time: int
    last_test_time: int
    row_count: int
    training_row_count: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class LeaderboardEntry:
    """One model, in its best configuration, over all test folds."""

    catalogue_id: str
    trial: Trial
    metrics: dict[str, float]
    standard_errors: dict[str, float]
    folds: tuple[FoldScore, ...]
    cpu_seconds: float
    is_baseline: bool
    is_chosen: bool


@dataclass(frozen=True, eq=False, slots=True)
class Tested:
    """A line of the leaderboard and the predictions behind it, by fold."""

    entry: LeaderboardEntry
    parts: tuple[OutOfSample, ...]

    @property
    def result(self) -> OutOfSample:
        """Pools the folds."""
        return joined(list(self.parts))


@dataclass(slots=True)
class Tester:
    """Tests what a selection needs, then other models as far as the budget goes.

    `cpu_limit_s` is on the clock of the hooks.
    """

    data: TrainingData
    folds: Sequence[Fold]
    seed: int
    selection: Selection
    cpu_limit_s: float
    hooks: Hooks
    done: int = 0

    def test_all(
        self, trials: Sequence[tuple[Candidate, Trial]]
    ) -> tuple[dict[str, Tested], list[SkippedModel]]:
        """Tests models in their best configurations; says which were left out and why.

        Raises:
            DataProblemError: a chosen model diverges on a test fold.
        """
        needed = {trial.catalogue_id for trial in self.selection.members}
        ordered = sorted(trials, key=lambda it: not (it[0].entry.is_baseline or it[1].catalogue_id in needed))
        tested: dict[str, Tested] = {}
        skipped: list[SkippedModel] = []
        for candidate, trial in ordered:
            name = candidate.entry.id
            if not (candidate.entry.is_baseline or name in needed) and self._is_spent():
                skipped.append(SkippedModel(name, SkipReason.BUDGET_EXHAUSTED, "validated, not tested"))
                continue
            try:
                tested[name] = self._test(candidate, trial, len(ordered) * len(self.folds))
            except TrialFailedError as error:
                if name in needed:
                    raise DataProblemError(str(error), "MODEL_DIVERGED") from error
                skipped.append(SkippedModel(name, SkipReason.FAILED, f"{error.reason}: {error.detail}"))
        if self.selection.ensemble is not None:
            tested[self.selection.trial.catalogue_id] = self._combine(tested)
        return tested, skipped

    def _is_spent(self) -> bool:
        return self.hooks.cpu_seconds() >= self.cpu_limit_s

    def _test(self, candidate: Candidate, trial: Trial, total: int) -> Tested:
        started, parts = self.hooks.cpu_seconds(), []
        for fold in self.folds:
            self.hooks.report("folds", self.done, total, candidate.entry.id)
            parts.append(candidate.test(self.data, fold, trial.parameters, self.seed))
            self.done += 1
        return self._scored(
            trial, parts, self.hooks.cpu_seconds() - started, is_baseline=candidate.entry.is_baseline
        )

    def _combine(self, tested: dict[str, Tested]) -> Tested:
        ensemble = self.selection.ensemble
        if ensemble is None:
            raise ValueError("there is nothing to combine")
        parts = []
        for number, fold in enumerate(self.folds):
            members = {name: tested[name].parts[number] for name in ensemble.weights}
            first = next(iter(members.values()))
            combined = ensemble.combine(
                {name: part.predictions for name, part in members.items()}, centre_of(self.data, fold)
            )
            parts.append(OutOfSample(first.date, first.labels, combined, first.training_mean))
        return self._scored(self.selection.trial, parts, 0.0, is_baseline=False)

    def _scored(
        self, trial: Trial, parts: Sequence[OutOfSample], cpu_seconds: float, *, is_baseline: bool
    ) -> Tested:
        result = joined(list(parts))
        target, horizon = self.data.target, self.data.horizon_bars
        line = LeaderboardEntry(
            catalogue_id=trial.catalogue_id,
            trial=trial,
            metrics=score(result, target, horizon),
            standard_errors=standard_errors(result, target, horizon),
            folds=tuple(self._fold(fold, part) for fold, part in zip(self.folds, parts, strict=True)),
            cpu_seconds=cpu_seconds,
            is_baseline=is_baseline,
            is_chosen=trial.catalogue_id == self.selection.trial.catalogue_id,
        )
        return Tested(line, tuple(parts))

    def _fold(self, fold: Fold, result: OutOfSample) -> FoldScore:
        times = self.data.event_time[fold.test]
        return FoldScore(
            first_test_time=int(np.min(times)),
            last_test_time=int(np.max(times)),
            row_count=len(fold.test),
            training_row_count=len(fold.train),
            metrics=score(result, self.data.target, self.data.horizon_bars),
        )
