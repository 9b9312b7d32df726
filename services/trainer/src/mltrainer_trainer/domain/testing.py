"""Tests models walk-forward: refits them for each test fold and scores what they predict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mltrainer_trainer.domain.cpu_budget import MARGIN, CostsOfTests
from mltrainer_trainer.domain.ensembles import Ensemble
from mltrainer_trainer.domain.metrics import OutOfSample, joined
from mltrainer_trainer.domain.objectives import score, standard_errors
from mltrainer_trainer.domain.search import (
    Candidate,
    Hooks,
    SkippedModel,
    SkipReason,
    Trial,
    TrialFailedError,
)
from mltrainer_trainer.domain.selection import Selection, centre_of, name_of
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
    """Tests what a selection needs, then other models as far as the budget goes."""

    data: TrainingData
    folds: Sequence[Fold]
    seed: int
    selection: Selection
    validation_folds: int
    costs: CostsOfTests
    hooks: Hooks
    done: int = 0

    def test_all(self, trials: Sequence[tuple[Candidate, Trial]]) -> tuple[list[Tested], list[SkippedModel]]:
        """Tests configurations, those of the selection first; says which were left out and why.

        Raises:
            DataProblemError: a chosen model diverges on a test fold.
        """
        needed = {it.configuration_digest for it in self.selection.members}
        tested: list[Tested] = []
        skipped: list[SkippedModel] = []
        for candidate, trial in trials:
            is_needed = candidate.entry.is_baseline or trial.configuration_digest in needed
            if not is_needed and self._would_overrun(self.costs.testing_s(self._fit_s(trial))):
                skipped.append(_too_expensive(candidate))
                continue
            try:
                test = self._test(candidate, trial, len(trials) * len(self.folds), is_needed=is_needed)
            except TrialFailedError as error:
                if trial.configuration_digest in needed:
                    raise DataProblemError(str(error), "MODEL_DIVERGED") from error
                detail = f"{error.reason}: {error.detail}"
                skipped.append(SkippedModel(candidate.entry.id, SkipReason.FAILED, detail))
                continue
            if test is None:
                skipped.append(_too_expensive(candidate))
            else:
                tested.append(test)
        if self.selection.ensemble is not None:
            tested.append(self._combine(self.selection.ensemble, tested))
        return tested, skipped

    def _fit_s(self, trial: Trial) -> float:
        return trial.cpu_seconds / self.validation_folds

    def _would_overrun(self, further_s: float) -> bool:
        members = [it.configuration_digest for it in self.selection.members]
        return self.costs.would_overrun(self.hooks.cpu_seconds(), further_s, members)

    def _test(self, candidate: Candidate, trial: Trial, total: int, *, is_needed: bool) -> Tested | None:
        """Tests a configuration; gives one up that nobody needs where it takes longer than predicted."""
        started = self.hooks.cpu_seconds()
        parts: list[OutOfSample] = []
        for fold in self.folds:
            self.hooks.report("folds", self.done, total, candidate.entry.id)
            taken_s = self.hooks.cpu_seconds() - started
            left_s = MARGIN * taken_s / max(1, len(parts)) * (len(self.folds) - len(parts))
            if parts and not is_needed and self._would_overrun(left_s):
                return None
            parts.append(candidate.test(self.data, fold, trial.parameters, self.seed))
            self.done += 1
        cpu_seconds = self.hooks.cpu_seconds() - started
        tested = self._scored(trial, parts, cpu_seconds, is_baseline=candidate.entry.is_baseline)
        taken_s = self.hooks.cpu_seconds() - started
        self.costs.add(trial.configuration_digest, self._fit_s(trial), taken_s)
        return tested

    def _combine(self, ensemble: Ensemble, tested: Sequence[Tested]) -> Tested:
        by_name = {name_of(it.entry.trial): it for it in tested}
        parts = []
        for number, fold in enumerate(self.folds):
            members = {name: by_name[name].parts[number] for name in ensemble.weights}
            first = next(iter(members.values()))
            predictions = {name: part.predictions for name, part in members.items()}
            combined = ensemble.combine(predictions, centre_of(self.data, fold))
            parts.append(replace(first, predictions=combined))
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
            is_chosen=trial.configuration_digest == self.selection.trial.configuration_digest,
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


def _too_expensive(candidate: Candidate) -> SkippedModel:
    return SkippedModel(candidate.entry.id, SkipReason.BUDGET_EXHAUSTED, "validated, not tested")
