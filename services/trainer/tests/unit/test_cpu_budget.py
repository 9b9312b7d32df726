"""A training ends within its CPU budget, whatever its models take; the clock is made up."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from mltrainer_features import TargetKind
from mltrainer_models import ModelDescription
from mltrainer_trainer.domain.catalogue import CatalogueEntry, CostClass, UniformRange
from mltrainer_trainer.domain.cpu_budget import CostsOfTests, SearchBudget, fits_to_come
from mltrainer_trainer.domain.learners import Fit, FitRequest, FittedModel, Learner
from mltrainer_trainer.domain.linear_learners import fit_mean, fit_ridge
from mltrainer_trainer.domain.search import Hooks, SkipReason, TrialState
from mltrainer_trainer.domain.training import TrainingOutcome, TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import TrainingData
from mltrainer_trainer.domain.walk_forward import EvaluationPlan, Fold

DATES, SYMBOLS, HORIZON, DAY = 900, 3, 2, 86_400_000_000
FIRST_TEST = 600 * DAY
LIMIT_S = 60.0
TARGET = TargetKind.LOG_REALIZED_VARIANCE


def made_up_data() -> TrainingData:
    random = np.random.default_rng(1)
    count = DATES * SYMBOLS
    matrix = random.normal(size=(DATES, SYMBOLS, 3)).cumsum(axis=0).reshape(count, 3) / 10
    labels = matrix @ np.array([0.6, -0.3, 0.0]) + random.normal(size=count)
    date = np.repeat(np.arange(DATES), SYMBOLS)
    symbol, names = np.tile(np.arange(SYMBOLS), DATES), tuple(f"S{n}" for n in range(SYMBOLS))
    times = date * DAY
    ends = times + HORIZON * DAY
    return TrainingData(TARGET, HORIZON, ("a", "b", "c"), names, symbol, times, ends, date, matrix, labels, 0)


DATA = made_up_data()


class Clock:
    """CPU time that passes only where a model computes."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True)
class Cost:
    """What a model takes, in seconds per 1,000 rows it learns or reads.

    Attributes:
        growth_per_s: Cores get slower: by so much for each second that has passed.
        worst: Configurations with a large penalty take so many times longer.
    """

    learning_s: float
    reading_s: float = 0.0
    growth_per_s: float = 0.0
    worst: float = 1.0


@dataclass(frozen=True)
class CostlyFit:
    fit: Fit
    read: Callable[[int], None]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        self.read(len(matrix))
        return self.fit.predict(matrix)

    def to_model(self, description: ModelDescription) -> FittedModel:
        return self.fit.to_model(description)


def learners(clock: Clock, costs: dict[str, Cost]) -> Callable[[CatalogueEntry], Learner]:
    def load(entry: CatalogueEntry) -> Learner:
        learner, cost = (fit_mean if entry.is_baseline else fit_ridge), costs[entry.id]

        def spend(seconds_per_thousand: float, rows: int) -> None:
            clock.now_s += seconds_per_thousand * rows / 1_000 * (1 + cost.growth_per_s * clock.now_s)

        def fit(request: FitRequest) -> Fit:
            is_worst = float(request.parameters.get("alpha", 0.0)) > 5.0
            spend(cost.learning_s * (cost.worst if is_worst else 1.0), len(request.labels))
            return CostlyFit(learner(request), lambda rows: spend(cost.reading_s, rows))

        return fit

    return load


def entry_of(name: str, cost_class: CostClass, *, is_baseline: bool = False) -> CatalogueEntry:
    space = {} if is_baseline else {"alpha": UniformRange(1e-4, 10.0)}
    return CatalogueEntry(
        name,
        "test",
        (TARGET,),
        "nowhere:fit",
        defaults={} if is_baseline else {"alpha": 1.0},
        search_space=space,
        is_baseline=is_baseline,
        cost_class=cost_class,
    )


ENTRIES = (
    entry_of("mean", CostClass.TRIVIAL, is_baseline=True),
    entry_of("light", CostClass.CHEAP),
    entry_of("middle", CostClass.MODERATE),
    entry_of("heavy", CostClass.MODERATE),
)
CHEAP = {"mean": Cost(0.01), "light": Cost(0.1)}


def execute(costs: dict[str, Cost], limit_s: float = LIMIT_S) -> TrainingOutcome:
    clock = Clock()
    evaluation = EvaluationPlan(FIRST_TEST, refit_interval_bars=100)
    plan = TrainingPlan(ENTRIES, evaluation, 500, seed=3, validation_bars=150, cpu_seconds=limit_s)
    return execute_training(plan, DATA, learners(clock, {**CHEAP, **costs}), Hooks(cpu_seconds=clock))


@pytest.mark.parametrize("limit_s", [20.0, 60.0, 200.0])
@pytest.mark.parametrize(
    "costs",
    [
        pytest.param({"middle": Cost(0.5), "heavy": Cost(1.0)}, id="even"),
        pytest.param({"middle": Cost(0.5), "heavy": Cost(0.8, reading_s=0.4)}, id="slow-to-read"),
        pytest.param(
            {"middle": Cost(0.5, growth_per_s=0.002), "heavy": Cost(1.0, growth_per_s=0.002)}, id="slowing"
        ),
        pytest.param(
            {"middle": Cost(0.5, worst=8.0), "heavy": Cost(0.9, worst=8.0)}, id="some-draws-are-slow"
        ),
    ],
)
def test_a_training_ends_within_its_budget_and_uses_a_good_part_of_it(
    costs: dict[str, Cost], limit_s: float
) -> None:
    outcome = execute(costs, limit_s)

    assert limit_s / 3 < outcome.cpu_seconds <= limit_s
    assert [line.is_chosen for line in outcome.leaderboard].count(True) == 1


def test_a_trial_that_would_cost_the_tests_ends_after_its_first_fold() -> None:
    outcome = execute({"middle": Cost(0.5), "heavy": Cost(6.0)}, 40.0)

    (stopped,) = [trial for trial in outcome.trials if trial.catalogue_id == "heavy"]
    assert (stopped.state, stopped.detail) == (
        TrialState.PRUNED,
        "it would leave too little to test what was tried before",
    )
    assert ("heavy", SkipReason.BUDGET_EXHAUSTED) in [(it.catalogue_id, it.reason) for it in outcome.skipped]
    assert outcome.cpu_seconds <= 40.0


def test_equal_clocks_give_equal_models() -> None:
    costs = {"middle": Cost(0.5), "heavy": Cost(1.0)}

    first, second = execute(costs), execute(costs)

    assert first.trials == second.trials
    assert first.artifact.canonical_digest == second.artifact.canonical_digest


BUDGET = SearchBudget(max_trials=10, cpu_seconds=100.0, test_fits=4.0, last_fits=2.0, closing_s=1.0)


def test_tests_that_took_longer_than_their_trials_let_expect_raise_what_is_expected() -> None:
    costs = CostsOfTests(BUDGET, limit_s=100.0)
    before_s = costs.testing_s(fit_s=1.0)

    costs.add("one", fit_s=1.0, taken_s=6.0)

    assert costs.testing_s(fit_s=1.0) == pytest.approx(1.5 * before_s)


def test_tests_that_took_less_do_not_lower_it() -> None:
    costs = CostsOfTests(BUDGET, limit_s=100.0)

    costs.add("one", fit_s=1.0, taken_s=2.0)

    assert costs.testing_s(fit_s=1.0) == BUDGET.testing_s(1.0)


def test_what_the_last_fit_of_the_members_takes_is_kept() -> None:
    costs = CostsOfTests(replace(BUDGET, closing_s=2.0), limit_s=100.0)
    costs.add("member", fit_s=1.0, taken_s=8.0)
    last_s = BUDGET.last_s(2.0)

    assert costs.would_overrun(98.0 - last_s, 0.1, ["member"])
    assert not costs.would_overrun(97.9 - last_s, 0.1, ["member"])


def test_fits_to_come_grow_with_their_rows() -> None:
    inner = [Fold(np.arange(100), np.arange(10)), Fold(np.arange(300), np.arange(10))]
    folds = [Fold(np.arange(400), np.arange(10)), Fold(np.arange(600), np.arange(10))]

    tests, last = fits_to_come(folds, inner, 800)

    assert tests == 5.0
    assert last >= 4.0
