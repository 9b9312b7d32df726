"""One training from its data to a judged model: search, walk-forward test, verdict, last fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from mltrainer_models import (
    DailyLoss,
    ModelArtifact,
    ModelEvaluation,
    save_model,
    summarise_reference,
)

from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.cpu_budget import CostsOfTests, SearchBudget, fits_to_come
from mltrainer_trainer.domain.last_fit import fit_last
from mltrainer_trainer.domain.leak_guards import CandidateGuard, guard_data
from mltrainer_trainer.domain.learners import LearnerFactory
from mltrainer_trainer.domain.metrics import OutOfSample
from mltrainer_trainer.domain.objectives import OBJECTIVES
from mltrainer_trainer.domain.paths import CombinatorialPlan, PathFolds, PathScores, cut_paths, score_paths
from mltrainer_trainer.domain.sampling import Sampler, draw_at_random
from mltrainer_trainer.domain.search import (
    Candidate,
    Hooks,
    SkippedModel,
    SkipReason,
    Trial,
    TrialFailedError,
    TrialState,
    load_candidates,
)
from mltrainer_trainer.domain.selection import Selection, select
from mltrainer_trainer.domain.study import Study
from mltrainer_trainer.domain.testing import FoldScore, LeaderboardEntry, Tested, Tester
from mltrainer_trainer.domain.training_data import DataProblemError, TrainingData
from mltrainer_trainer.domain.verdict import PriorTrial, StudyRecord, Verdict, judge
from mltrainer_trainer.domain.walk_forward import EvaluationPlan, Fold, validation_folds, walk_forward_folds

__all__ = ["FoldScore", "LeaderboardEntry", "TrainingOutcome", "TrainingPlan", "execute_training"]

VALIDATION_FOLDS = 2
_DAY_MICROSECONDS = 86_400_000_000


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What to try and how to judge it.

    Attributes:
        max_trials: Configurations to evaluate; defaults are evaluated beyond it as far as the budget goes.
        prior_trial_count: How many trials the study had before, over all its trainings.
        prior_trials: What its ledger still knows of them; fewer where old entries lack it.
        context_digest: Names the data and the evaluation, so that the ledger keeps one of two equal trials.
        cpu_seconds: The budget, unlimited where infinite.
        combinatorial: Combinatorial folds to test the choice on; the verdict is reached without them.
    """

    entries: tuple[CatalogueEntry, ...]
    evaluation: EvaluationPlan
    max_trials: int
    seed: int
    prior_trial_count: int = 0
    prior_trials: tuple[PriorTrial, ...] = ()
    validation_bars: int = 1008
    cpu_seconds: float = inf
    context_digest: str = ""
    feature_views: Mapping[str, str] = field(default_factory=dict)
    combinatorial: CombinatorialPlan | None = None


@dataclass(frozen=True, eq=False, slots=True)
class TrainingOutcome:
    """What a training arrives at; the leaderboard is sorted by loss, best first."""

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
    combinatorial: PathScores | None = None


def execute_training(
    plan: TrainingPlan,
    data: TrainingData,
    load: LearnerFactory,
    hooks: Hooks | None = None,
    sampler: Sampler = draw_at_random,
) -> TrainingOutcome:
    """Chooses on validation data, tests walk-forward, judges, and fits the chosen model on every row.

    Raises:
        DataProblemError: there is nothing to test on, nothing known before the first test, or no model that
            can be fitted.
        LeakFoundError: the data, the folds or a model know what they are tested on.
        TrainingCancelledError: the hooks asked for it.
    """
    hooks = hooks or Hooks()
    started = hooks.cpu_seconds()
    folds, inner = _cut(plan, data)
    paths = _cut_paths(plan, data)
    candidates, skipped = load_candidates(plan.entries, load, data, len(inner[0].train))
    if not candidates:
        reasons = "; ".join(f"{model.catalogue_id}: {model.detail}" for model in skipped)
        raise DataProblemError(f"no model can be tried: {reasons}")
    guard_data(data, (*folds, *inner), inner[0])
    study = Study(candidates, data, inner, plan.seed, plan.context_digest, hooks, sampler)
    study.guard = CandidateGuard(data, inner[0], plan.seed)
    budget = _budget(plan, folds, study, paths, hooks.cpu_seconds() - started)
    study.execute(budget)
    selection = select(study, budget)
    costs = CostsOfTests(budget, started + plan.cpu_seconds)
    tester = Tester(data, folds, plan.seed, selection, len(inner), costs, hooks)
    everything, untested = tester.test_all(_configurations(study, selection))
    tested = _best_of_each(everything)
    scores = score_paths(study, selection, paths, costs) if paths else None
    return TrainingOutcome(
        chosen=selection.trial,
        leaderboard=tuple(test.entry for test in sorted(tested.values(), key=_loss)),
        verdict=_judge(plan, study, selection, tested),
        artifact=_pack(plan, study, selection, tested[selection.trial.catalogue_id].result),
        trials=tuple(study.trials),
        skipped=(*skipped, *study.skipped, *_failures(study), *untested),
        out_of_sample={name: test.result for name, test in tested.items()},
        row_count=len(data),
        dropped_row_count=data.dropped_rows,
        cpu_seconds=hooks.cpu_seconds() - started,
        combinatorial=scores,
    )


def _loss(tested: Tested) -> float:
    return float(tested.result.losses.mean())


def _cut(plan: TrainingPlan, data: TrainingData) -> tuple[tuple[Fold, ...], tuple[Fold, ...]]:
    folds = walk_forward_folds(data.event_time, data.label_end_time, plan.evaluation)
    if not folds:
        raise DataProblemError("no row lies at or after the first test time")
    inner = validation_folds(
        data.event_time, data.label_end_time, plan.evaluation, plan.validation_bars, VALIDATION_FOLDS
    )
    if not inner or not all(len(fold.train) and len(fold.test) for fold in inner):
        raise DataProblemError("too little is known before the first test time to choose a model")
    return folds, inner


def _cut_paths(plan: TrainingPlan, data: TrainingData) -> PathFolds | None:
    if plan.combinatorial is None:
        return None
    return cut_paths(plan.combinatorial, data, plan.evaluation.embargo_bars)


def _budget(
    plan: TrainingPlan, folds: Sequence[Fold], study: Study, paths: PathFolds | None, spent_s: float
) -> SearchBudget:
    validated = sum(len(fold.train) for fold in study.folds) / len(study.folds)
    return SearchBudget(
        plan.max_trials,
        plan.cpu_seconds - spent_s,
        *fits_to_come(folds, study.folds, len(study.data)),
        # Judging and packing go through the whole table as its guards have, and through the trials.
        closing_s=2 * spent_s,
        path_fits=paths.training_rows / validated if paths else 0.0,
    )


def _configurations(study: Study, selection: Selection) -> list[tuple[Candidate, Trial]]:
    """Lists baselines and members, then the other models in their best configurations."""
    members = [it for it in selection.members if not study.candidate(it.catalogue_id).entry.is_baseline]
    chosen = {it.catalogue_id for it in members}
    others = [it for it in study.ranking(baselines=False) if it.catalogue_id not in chosen]
    trials = [*study.ranking(baselines=True), *members, *others]
    return [(study.candidate(it.catalogue_id), it) for it in trials]


def _best_of_each(tested: Sequence[Tested]) -> dict[str, Tested]:
    """Keeps one line per model: the configuration with the smallest validation error."""
    ordered = sorted(tested, key=lambda it: (it.entry.trial.objective, it.entry.trial.number))
    return {it.entry.catalogue_id: it for it in reversed(ordered)}


def _failures(study: Study) -> list[SkippedModel]:
    """Names the models of which no configuration was completed."""
    return [
        SkippedModel(trial.catalogue_id, SkipReason.FAILED, trial.detail)
        for trial in study.trials
        if trial.state is TrialState.FAILED and study.best(trial.catalogue_id) is None
    ]


def _judge(plan: TrainingPlan, study: Study, selection: Selection, tested: Mapping[str, Tested]) -> Verdict:
    record = StudyRecord(
        trial_count=plan.prior_trial_count + len(study.trials),
        trials=(*plan.prior_trials, *(PriorTrial.of(trial) for trial in study.trials)),
    )
    return judge(
        selection.trial.catalogue_id,
        {name: test.result for name, test in tested.items()},
        baselines=frozenset(name for name, test in tested.items() if test.entry.is_baseline),
        target=study.data.target,
        horizon_bars=study.data.horizon_bars,
        record=record,
    )


def _pack(plan: TrainingPlan, study: Study, selection: Selection, tested: OutOfSample) -> ModelArtifact:
    """Fits the chosen configuration on every row and packs it with how it did on its test rows."""
    name = selection.trial.catalogue_id
    study.hooks.report("refit", 0, 1, name)
    try:
        last = fit_last(study, selection, plan.feature_views)
    except TrialFailedError as error:
        raise DataProblemError(str(error), "MODEL_DIVERGED") from error
    reference = summarise_reference(last.model.description.feature_names, last.matrix, last.predictions)
    evaluation = summarise_losses(study.data, tested)
    artifact = save_model(last.model, reference.to_bytes(), evaluation.to_bytes())
    study.hooks.report("refit", 1, 1, name)
    return artifact


def summarise_losses(data: TrainingData, tested: OutOfSample) -> ModelEvaluation:
    """Averages losses over the rows of each UTC day."""
    row_days = np.unique(data.event_time)[tested.date] // _DAY_MICROSECONDS
    days, numbers = np.unique(row_days, return_inverse=True)
    rows = np.bincount(numbers)
    losses = np.bincount(numbers, weights=tested.losses) / rows
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
        loss_kind=OBJECTIVES[data.target].loss_kind,
    )
