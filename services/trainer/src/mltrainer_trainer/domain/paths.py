"""Tests what was chosen on combinatorial purged folds: how results vary over paths through time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mltrainer_trainer.domain.catalogue import Task
from mltrainer_trainer.domain.combinatorial import (
    CombinatorialFold,
    combinatorial_folds,
    fold_of_each_group,
    group_numbers,
)
from mltrainer_trainer.domain.cpu_budget import MARGIN, CostsOfTests
from mltrainer_trainer.domain.metrics import OutOfSample, joined
from mltrainer_trainer.domain.objectives import score
from mltrainer_trainer.domain.search import SkipReason, TrialFailedError
from mltrainer_trainer.domain.selection import Selection, centre_of, name_of
from mltrainer_trainer.domain.study import Study
from mltrainer_trainer.domain.training_data import DataProblemError, TrainingData

_FEWEST_DATES = 20
_LEARNING_ROWS = frozenset({Task.REGRESSION, Task.CLASSIFICATION, Task.RANKING})


@dataclass(frozen=True, slots=True)
class CombinatorialPlan:
    """How many groups of dates there are, and how many of them each fold tests."""

    groups: int
    test_groups: int


@dataclass(frozen=True, slots=True)
class PathScores:
    """Metrics by path; `skipped_reason` says why there are none."""

    plan: CombinatorialPlan
    folds: int
    paths: tuple[dict[str, float], ...] = ()
    skipped_reason: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class PathFolds:
    """The folds of a plan."""

    plan: CombinatorialPlan
    folds: tuple[CombinatorialFold, ...] = field(repr=False)

    @property
    def training_rows(self) -> int:
        """Counts the rows that all folds train on."""
        return sum(len(one.fold.train) for one in self.folds)


def cut_paths(plan: CombinatorialPlan, data: TrainingData, embargo_bars: int) -> PathFolds:
    """Cuts the folds of a plan.

    Raises:
        DataProblemError: TOO_FEW_DATES, with how many groups there may be at most.
    """
    dates = len(np.unique(data.event_time))
    fewest = max(_FEWEST_DATES, 2 * (data.horizon_bars + embargo_bars))
    if not 1 <= plan.test_groups < plan.groups or dates < plan.groups * fewest:
        problem = (
            f"{plan.test_groups} of {plan.groups} combinatorial groups cannot be tested: {dates} dates make "
            f"at most {dates // fewest} groups of {fewest}, as labels of {data.horizon_bars} bars and an "
            f"embargo of {embargo_bars} need, and one must be left to train on"
        )
        raise DataProblemError(problem, "TOO_FEW_DATES")
    folds = combinatorial_folds(
        data.event_time, data.label_end_time, plan.groups, plan.test_groups, embargo_bars
    )
    if not all(len(one.fold.train) for one in folds):
        raise DataProblemError(
            "labels reach over all groups, so that none is left to train on", "TOO_FEW_DATES"
        )
    return PathFolds(plan, folds)


def score_paths(study: Study, selection: Selection, cut: PathFolds, costs: CostsOfTests) -> PathScores:
    """Fits what was chosen on every fold and scores every path; says why not where it cannot."""
    nothing = PathScores(cut.plan, len(cut.folds))
    for member in selection.members:
        task = study.candidate(member.catalogue_id).entry.task
        if task not in _LEARNING_ROWS:
            reason = f"{member.catalogue_id} is a model of {task.lower()}, which needs its dates in one piece"
            return replace(nothing, skipped_reason=reason)
    try:
        results = _results(study, selection, cut, costs)
    except TrialFailedError as error:
        return replace(nothing, skipped_reason=str(error))
    if len(results) < len(cut.folds):
        reason = f"{SkipReason.BUDGET_EXHAUSTED}: {len(results)} of {len(cut.folds)} folds fit in the budget"
        return replace(nothing, skipped_reason=reason)
    return replace(nothing, paths=_scored_paths(study.data, cut, results))


def _results(study: Study, selection: Selection, cut: PathFolds, costs: CostsOfTests) -> list[OutOfSample]:
    hooks, members = study.hooks, [it.configuration_digest for it in selection.members]
    started, results = hooks.cpu_seconds(), list[OutOfSample]()
    costs.begin_paths()
    for one in cut.folds:
        hooks.report("paths", len(results), len(cut.folds), selection.trial.catalogue_id)
        now_s, left = hooks.cpu_seconds(), len(cut.folds) - len(results)
        left_s = MARGIN * (now_s - started) / len(results) * left if results else costs.paths_s(members)
        if costs.would_overrun(now_s, left_s, members):
            break
        results.append(_test_fold(study, selection, one))
    return results


def _test_fold(study: Study, selection: Selection, one: CombinatorialFold) -> OutOfSample:
    parts = {
        name_of(it): study.candidate(it.catalogue_id).test(study.data, one.fold, it.parameters, study.seed)
        for it in selection.members
    }
    first = next(iter(parts.values()))
    if selection.ensemble is None:
        return first
    predictions = {name: part.predictions for name, part in parts.items()}
    combined = selection.ensemble.combine(predictions, centre_of(study.data, one.fold))
    return replace(first, predictions=combined)


def _scored_paths(
    data: TrainingData, cut: PathFolds, results: Sequence[OutOfSample]
) -> tuple[dict[str, float], ...]:
    # One number per date; predictions may be for some of the dates only.
    times, first = np.unique(data.event_time, return_index=True)
    group_of_date = group_numbers(times, cut.plan.groups)
    numbers = np.full(int(data.date.max()) + 1, -1)
    numbers[data.date[first]] = group_of_date
    scores = []
    for folds in fold_of_each_group(cut.folds, cut.plan.groups):
        parts = [
            _rows(results[fold], numbers[results[fold].date] == group) for group, fold in enumerate(folds)
        ]
        scores.append(score(joined(parts), data.target, data.horizon_bars))
    return tuple(scores)


def _rows(result: OutOfSample, rows: NDArray[np.bool_]) -> OutOfSample:
    return replace(
        result,
        date=result.date[rows],
        labels=result.labels[rows],
        predictions=result.predictions[rows],
        training_mean=result.training_mean[rows],
        symbol=None if result.symbol is None else result.symbol[rows],
    )
