"""Combinatorial purged folds as an option of a training."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from mltrainer.trainer.v1.resources_pb2 import AttemptResult
from mltrainer_features import TargetKind
from mltrainer_trainer.domain.catalogue import CatalogueEntry, UniformRange
from mltrainer_trainer.domain.combinatorial import combinatorial_folds, fold_of_each_group, path_count
from mltrainer_trainer.domain.learners import Fit, FitRequest, Learner
from mltrainer_trainer.domain.linear_learners import fit_mean, fit_ridge
from mltrainer_trainer.domain.paths import CombinatorialPlan, cut_paths
from mltrainer_trainer.domain.search import Hooks
from mltrainer_trainer.domain.training import TrainingOutcome, TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import DataProblemError, TrainingData
from mltrainer_trainer.domain.walk_forward import EvaluationPlan
from mltrainer_trainer.wire.outcome import to_outcome

DATES, SYMBOLS, HORIZON, DAY = 600, 3, 2, 86_400_000_000
TARGET = TargetKind.LOG_REALIZED_VARIANCE
FEATURES = ("a", "b")


def made_up_data() -> TrainingData:
    random = np.random.default_rng(1)
    count = DATES * SYMBOLS
    waves = random.normal(size=(DATES, SYMBOLS, len(FEATURES)))
    for day in range(1, DATES):
        waves[day] = 0.97 * waves[day - 1] + 0.24 * waves[day]
    matrix = waves.reshape(count, len(FEATURES))
    labels = matrix @ np.array([0.8, -0.4]) + random.normal(size=count)
    date = np.repeat(np.arange(DATES), SYMBOLS)
    symbol, names = np.tile(np.arange(SYMBOLS), DATES), tuple(f"S{n}" for n in range(SYMBOLS))
    times = date * DAY
    ends = times + HORIZON * DAY
    return TrainingData(TARGET, HORIZON, FEATURES, names, symbol, times, ends, date, matrix, labels, 0)


DATA = made_up_data()
BASELINE = CatalogueEntry("mean", "test", (TARGET,), "nowhere:fit", is_baseline=True)
RIDGE = CatalogueEntry(
    "ridge",
    "test",
    (TARGET,),
    "nowhere:fit",
    defaults={"alpha": 1.0},
    search_space={"alpha": UniformRange(1e-4, 10.0)},
)
PLAN = TrainingPlan(
    (BASELINE, RIDGE), EvaluationPlan(400 * DAY, refit_interval_bars=100, embargo_bars=2), 4, seed=3
)
SIX = CombinatorialPlan(groups=6, test_groups=2)


def load(entry: CatalogueEntry) -> Learner:
    return fit_mean if entry.is_baseline else fit_ridge


def execute(plan: TrainingPlan, learners: Callable[[CatalogueEntry], Learner] = load) -> TrainingOutcome:
    return execute_training(plan, DATA, learners)


WITHOUT = execute(PLAN)
WITH = execute(replace(PLAN, combinatorial=SIX))


def test_every_path_tests_every_group_once_and_every_fold_is_used_up() -> None:
    folds = combinatorial_folds(DATA.event_time, DATA.label_end_time, 6, 2)

    paths = fold_of_each_group(folds, 6)

    assert len(paths) == path_count(6, 2) == 5
    assert all(group in folds[fold].groups for path in paths for group, fold in enumerate(path))
    used = [(fold, group) for path in paths for group, fold in enumerate(path)]
    assert sorted(used) == sorted((n, group) for n, one in enumerate(folds) for group in one.groups)


def test_the_chosen_model_is_scored_on_every_path() -> None:
    assert WITH.combinatorial is not None
    assert (WITH.combinatorial.folds, len(WITH.combinatorial.paths)) == (15, 5)
    assert WITH.combinatorial.skipped_reason == ""
    assert all(0.1 < path["r2"] < 0.9 for path in WITH.combinatorial.paths)
    assert len({path["rmse"] for path in WITH.combinatorial.paths}) == 5


def test_they_change_neither_choice_nor_verdict_nor_model() -> None:
    assert WITHOUT.combinatorial is None
    assert WITH.trials == WITHOUT.trials
    assert WITH.chosen == WITHOUT.chosen
    assert WITH.verdict == WITHOUT.verdict
    assert WITH.artifact.canonical_digest == WITHOUT.artifact.canonical_digest


def test_they_travel_with_the_result() -> None:
    result = AttemptResult.FromString(to_outcome(WITH, 1.0).result)

    found = result.combinatorial
    assert (found.groups, found.test_groups, found.folds, len(found.paths)) == (6, 2, 15, 5)
    assert {metric.name for metric in found.paths[0].metrics} >= {"r2", "rmse", "qlike"}
    assert not AttemptResult.FromString(to_outcome(WITHOUT, 1.0).result).HasField("combinatorial")


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        pytest.param(CombinatorialPlan(31, 2), "at most 30 groups of 20", id="too-few-dates"),
        pytest.param(CombinatorialPlan(4, 4), "one must be left to train on", id="none-to-train-on"),
    ],
)
def test_groups_that_cannot_be_tested_are_refused_before_anything_is_fitted(
    plan: CombinatorialPlan, problem: str
) -> None:
    def never(entry: CatalogueEntry) -> Learner:
        raise AssertionError(entry)

    with pytest.raises(DataProblemError, match=problem) as caught:
        execute(replace(PLAN, combinatorial=plan), never)

    assert caught.value.reason == "TOO_FEW_DATES"


def test_long_labels_need_longer_groups() -> None:
    long = replace(DATA, horizon_bars=60, label_end_time=DATA.event_time + 60 * DAY)

    with pytest.raises(DataProblemError, match="600 dates make at most 4 groups of 130"):
        cut_paths(SIX, long, embargo_bars=5)


def test_folds_for_which_the_budget_is_too_small_are_left_out_with_the_reason() -> None:
    now_s = 0.0

    def costly(entry: CatalogueEntry) -> Learner:
        def fit(request: FitRequest) -> Fit:
            nonlocal now_s
            now_s += len(request.labels) / 1_000
            return load(entry)(request)

        return fit

    plan = replace(PLAN, combinatorial=SIX, cpu_seconds=20.0)

    outcome = execute_training(plan, DATA, costly, Hooks(cpu_seconds=lambda: now_s))

    assert outcome.combinatorial is not None
    assert outcome.combinatorial.skipped_reason.startswith("BUDGET_EXHAUSTED: 0 of 15 folds")
    assert outcome.cpu_seconds <= 20.0
