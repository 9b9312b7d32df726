"""One training from its data to a judged model: search, walk-forward test, verdict, last fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from mltrainer_models import (
    DailyLoss,
    ModelArtifact,
    ModelDescription,
    ModelEvaluation,
    ModelTarget,
    save_model,
    summarise_reference,
)

from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.leak_guards import guard_training
from mltrainer_trainer.domain.learners import LearnerFactory
from mltrainer_trainer.domain.metrics import OutOfSample, joined, score, standard_errors
from mltrainer_trainer.domain.search import (
    Candidate,
    Hooks,
    Search,
    SkippedModel,
    SkipReason,
    Trial,
    best_trial,
    load_candidates,
)
from mltrainer_trainer.domain.training_data import DataProblemError, TrainingData
from mltrainer_trainer.domain.verdict import Verdict, judge
from mltrainer_trainer.domain.walk_forward import EvaluationPlan, Fold, validation_folds, walk_forward_folds

# Choosing models may use this share of the CPU budget; testing and the last fit need the rest.
_SEARCH_SHARE = 0.4
_DAY_MICROSECONDS = 86_400_000_000


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What to try and how to judge it.

    `prior_trial_count` is how many trials the study had before, over all its trainings. `context_digest`
    names the data and the evaluation, so that the ledger keeps one of two equal trials. `cpu_seconds` is the
    budget, unlimited where infinite.
    """

    entries: tuple[CatalogueEntry, ...]
    evaluation: EvaluationPlan
    max_trials: int
    seed: int
    prior_trial_count: int = 0
    validation_bars: int = 1008
    cpu_seconds: float = inf
    context_digest: str = ""
    feature_views: Mapping[str, str] = field(default_factory=dict)


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
class TrainingOutcome:
    """What a training arrives at; the leaderboard is sorted by squared error, best first."""

    chosen: Trial
    leaderboard: tuple[LeaderboardEntry, ...]
    verdict: Verdict
    artifact: ModelArtifact
    trials: tuple[Trial, ...]
    skipped: tuple[SkippedModel, ...]
    out_of_sample: Mapping[str, OutOfSample]
    row_count: int
    dropped_row_count: int
    cpu_seconds: float


def execute_training(
    plan: TrainingPlan, data: TrainingData, load: LearnerFactory, hooks: Hooks | None = None
) -> TrainingOutcome:
    """Chooses on validation data, tests walk-forward, judges, and fits the chosen model on every row.

    Raises:
        DataProblemError: there is nothing to test on, or nothing known before the first test.
        LeakFoundError: the data, the folds or a model know what they are tested on.
        TrainingCancelledError: the hooks asked for it.
    """
    hooks = hooks or Hooks()
    started = hooks.cpu_seconds()
    folds, inner = _cut(plan, data)
    candidates, skipped = load_candidates(plan.entries, load, data, len(inner[0].train))
    if not candidates:
        reasons = "; ".join(f"{model.catalogue_id}: {model.detail}" for model in skipped)
        raise DataProblemError(f"no model can be tried: {reasons}")
    guard_training(data, folds, inner[0], candidates, plan.seed)
    finder = Search(candidates, data, inner, plan.seed, plan.context_digest, hooks)
    trials = finder.execute(plan.max_trials, started + plan.cpu_seconds * _SEARCH_SHARE)
    chosen = best_trial(trials)
    tester = _Tester(plan, data, folds, trials, chosen, started + plan.cpu_seconds, hooks)
    tested = {test.entry.catalogue_id: test for test in tester.test_all(candidates)}
    untested = [_untested(candidate) for candidate in candidates if candidate.entry.id not in tested]
    by_id = {candidate.entry.id: candidate for candidate in candidates}
    return TrainingOutcome(
        chosen=chosen,
        leaderboard=tuple(sorted((test.entry for test in tested.values()), key=_loss)),
        verdict=tester.judge(list(tested.values())),
        artifact=tester.fit_last(by_id[chosen.catalogue_id], tested[chosen.catalogue_id].result),
        trials=tuple(trials),
        skipped=(*skipped, *untested),
        out_of_sample={name: test.result for name, test in tested.items()},
        row_count=len(data),
        dropped_row_count=data.dropped_rows,
        cpu_seconds=hooks.cpu_seconds() - started,
    )


def _loss(entry: LeaderboardEntry) -> float:
    return entry.metrics["rmse"]


def _untested(candidate: Candidate) -> SkippedModel:
    return SkippedModel(candidate.entry.id, SkipReason.BUDGET_EXHAUSTED, "validated, not tested")


def _cut(plan: TrainingPlan, data: TrainingData) -> tuple[tuple[Fold, ...], tuple[Fold, ...]]:
    folds = walk_forward_folds(data.event_time, data.label_end_time, plan.evaluation)
    if not folds:
        raise DataProblemError("no row lies at or after the first test time")
    inner = validation_folds(data.event_time, data.label_end_time, plan.evaluation, plan.validation_bars)
    if not inner or not len(inner[0].train):
        raise DataProblemError("too little is known before the first test time to choose a model")
    return folds, inner


@dataclass(frozen=True, eq=False, slots=True)
class _Tested:
    entry: LeaderboardEntry
    result: OutOfSample


@dataclass(frozen=True, eq=False, slots=True)
class _Tester:
    plan: TrainingPlan
    data: TrainingData
    folds: Sequence[Fold]
    trials: Sequence[Trial]
    chosen: Trial
    cpu_limit_s: float
    hooks: Hooks

    def test_all(self, candidates: Sequence[Candidate]) -> list[_Tested]:
        """Tests what the verdict needs, and the other models as far as the budget goes."""
        needed = [candidate for candidate in candidates if self._is_needed(candidate)]
        others = [candidate for candidate in candidates if not self._is_needed(candidate)]
        total = len(candidates) * len(self.folds)
        tested: list[_Tested] = []
        for candidate in needed:
            tested.append(self._test(candidate, len(tested) * len(self.folds), total))
        for candidate in others:
            if self.hooks.cpu_seconds() < self.cpu_limit_s:
                tested.append(self._test(candidate, len(tested) * len(self.folds), total))
        return tested

    def _is_needed(self, candidate: Candidate) -> bool:
        return candidate.entry.is_baseline or candidate.entry.id == self.chosen.catalogue_id

    def _test(self, candidate: Candidate, done: int, total: int) -> _Tested:
        entry, started = candidate.entry, self.hooks.cpu_seconds()
        trial, parts = best_trial(self.trials, entry.id), []
        for number, fold in enumerate(self.folds):
            self.hooks.report("folds", done + number, total, entry.id)
            parts.append(candidate.test(self.data, fold, trial.parameters, self.plan.seed))
        result = joined(parts)
        line = LeaderboardEntry(
            catalogue_id=entry.id,
            trial=trial,
            metrics=score(result, self.data.target, self.data.horizon_bars),
            standard_errors=standard_errors(result, self.data.target, self.data.horizon_bars),
            folds=tuple(self._score(fold, part) for fold, part in zip(self.folds, parts, strict=True)),
            cpu_seconds=self.hooks.cpu_seconds() - started,
            is_baseline=entry.is_baseline,
            is_chosen=entry.id == self.chosen.catalogue_id,
        )
        return _Tested(line, result)

    def _score(self, fold: Fold, result: OutOfSample) -> FoldScore:
        times = self.data.event_time[fold.test]
        return FoldScore(
            first_test_time=int(times[0]),
            last_test_time=int(times[-1]),
            row_count=len(fold.test),
            training_row_count=len(fold.train),
            metrics=score(result, self.data.target, self.data.horizon_bars),
        )

    def judge(self, tested: Sequence[_Tested]) -> Verdict:
        """Judges the chosen model by its test rows."""
        return judge(
            self.chosen.catalogue_id,
            {test.entry.catalogue_id: test.result for test in tested},
            baselines=frozenset(test.entry.catalogue_id for test in tested if test.entry.is_baseline),
            target=self.data.target,
            horizon_bars=self.data.horizon_bars,
            trial_count=self.plan.prior_trial_count + len(self.trials),
        )

    def fit_last(self, candidate: Candidate, tested: OutOfSample) -> ModelArtifact:
        """Fits the chosen configuration on every row and packs it with how it did on its test rows."""
        self.hooks.report("refit", 0, 1, candidate.entry.id)
        fit = candidate.fit(self.data, np.arange(len(self.data)), self.chosen.parameters, self.plan.seed)
        names = candidate.entry.columns(self.data.feature_names)
        seed = {"seed": self.plan.seed} if candidate.entry.is_seeded else {}
        description = ModelDescription(
            catalogue_id=candidate.entry.id,
            target=ModelTarget(self.data.target.value, self.data.horizon_bars),
            feature_names=names,
            parameters={**candidate.entry.fixed, **self.chosen.parameters, **seed},
            feature_views=self.plan.feature_views,
        )
        matrix = np.ascontiguousarray(self.data.matrix[:, self.data.columns(names)])
        reference = summarise_reference(names, matrix, fit.predict(matrix))
        evaluation = summarise_losses(self.data, tested)
        artifact = save_model(fit.to_model(description), reference.to_bytes(), evaluation.to_bytes())
        self.hooks.report("refit", 1, 1, candidate.entry.id)
        return artifact


def summarise_losses(data: TrainingData, tested: OutOfSample) -> ModelEvaluation:
    """Averages squared errors over the rows of each UTC day."""
    row_days = np.unique(data.event_time)[tested.date] // _DAY_MICROSECONDS
    days, numbers = np.unique(row_days, return_inverse=True)
    rows = np.bincount(numbers)
    losses = np.bincount(numbers, weights=tested.squared_errors) / rows
    starts, ends = data.event_time // _DAY_MICROSECONDS, data.label_end_time // _DAY_MICROSECONDS
    known = np.unique(np.concatenate([starts, ends]))
    reach = int((np.searchsorted(known, ends) - np.searchsorted(known, starts)).max())
    return ModelEvaluation(
        symbols=data.symbols,
        overlap_days=max(reach - 1, 0),
        losses=tuple(
            DailyLoss(int(day), float(loss), int(count))
            for day, loss, count in zip(days, losses, rows, strict=True)
        ),
    )
