import numpy as np
import pytest
from mltrainer_features import TargetKind
from mltrainer_trainer.domain.metrics import OutOfSample
from mltrainer_trainer.domain.search import MonthlyLoss
from mltrainer_trainer.domain.verdict import (
    PriorTrial,
    StudyRecord,
    Verdict,
    VerdictKind,
    VerdictReason,
    judge,
)

SYMBOLS, HORIZON = 5, 5


def labels_of(dates: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=dates * SYMBOLS)


def judged(
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    target: TargetKind = TargetKind.LOG_REALIZED_VARIANCE,
    chosen: str = "ridge",
    trial_count: int = 5,
    baselines: frozenset[str] = frozenset({"har", "persistence"}),
) -> Verdict:
    date = np.repeat(np.arange(len(labels) // SYMBOLS), SYMBOLS)
    zeros = np.zeros_like(labels)
    results = {
        "har": OutOfSample(date, labels, zeros, zeros),
        "persistence": OutOfSample(date, labels, zeros + 3.0, zeros),
        "ridge": OutOfSample(date, labels, predictions, zeros),
    }
    return judge(
        chosen,
        results,
        baselines=baselines,
        target=target,
        horizon_bars=HORIZON,
        record=StudyRecord(trial_count),
    )


def test_a_model_that_explains_half_of_the_label_has_an_edge_over_the_strongest_baseline() -> None:
    labels = labels_of(500, 1)

    verdict = judged(labels, labels / 2)

    assert (verdict.kind, verdict.reason) == (VerdictKind.EDGE, VerdictReason.BEATS_BASELINE)
    assert verdict.baseline == "har"
    assert "ridge against har" in verdict.explain()


def test_noise_has_no_edge() -> None:
    verdicts = [
        judged(labels_of(500, seed), 0.05 * labels_of(500, seed + 1_000), trial_count=1).kind
        for seed in range(100)
    ]

    assert verdicts.count(VerdictKind.EDGE) <= 2


def test_the_same_evidence_counts_less_after_a_long_search() -> None:
    labels = labels_of(500, 2)
    predictions = 0.022 * labels

    after_few = judged(labels, predictions, trial_count=1)
    weak = judged(labels, 0.02 * labels + 0.17 * labels_of(500, 3), trial_count=1)
    after_many = judged(labels, 0.02 * labels + 0.17 * labels_of(500, 3), trial_count=10_000)

    assert after_few.kind == VerdictKind.EDGE
    assert weak.p_value < after_many.p_value


def test_a_chosen_baseline_is_no_edge() -> None:
    verdict = judged(labels_of(500, 3), np.zeros(2_500), chosen="har")

    assert (verdict.kind, verdict.reason) == (VerdictKind.NO_EDGE, VerdictReason.BASELINE_CHOSEN)
    assert verdict.explain().startswith("NO_EDGE: BASELINE_CHOSEN")


def test_too_few_independent_periods_decide_nothing() -> None:
    labels = labels_of(190, 4)

    verdict = judged(labels, labels)

    assert (verdict.kind, verdict.reason) == (VerdictKind.NOT_ENOUGH_DATA, VerdictReason.TOO_FEW_PERIODS)
    assert verdict.periods == 38


def test_without_a_baseline_nothing_is_concluded() -> None:
    verdict = judged(labels_of(500, 5), np.zeros(2_500), baselines=frozenset())

    assert verdict.reason == VerdictReason.NO_BASELINE


def test_a_return_model_must_also_survive_as_a_strategy() -> None:
    labels = labels_of(500, 6) * 0.02

    believed = judged(labels, labels / 2, target=TargetKind.EXCESS_RETURN)
    # Predicting the common level of a date lowers the loss and earns nothing across symbols.
    level = np.repeat(labels.reshape(-1, SYMBOLS).mean(axis=1), SYMBOLS)
    doubted = judged(labels, level, target=TargetKind.EXCESS_RETURN)

    assert believed.kind == VerdictKind.EDGE
    assert believed.deflated_sharpe == pytest.approx(1.0)
    assert (doubted.kind, doubted.reason) == (VerdictKind.NO_EDGE, VerdictReason.SHARPE_WITHIN_SEARCH)


def with_losses(losses: list[float], first_month: int = 500) -> PriorTrial:
    return PriorTrial(0.1, tuple(MonthlyLoss(first_month + n, loss) for n, loss in enumerate(losses)))


def test_overfitting_is_counted_over_the_months_that_tries_of_all_trainings_share() -> None:
    random = np.random.default_rng(7)
    noise = [with_losses(list(random.normal(size=48))) for _ in range(20)]
    skilled = [with_losses(list(random.normal(size=48) + quality)) for quality in np.linspace(0, 20, 20)]
    later = [with_losses(list(random.normal(size=48)), first_month=512) for _ in range(20)]

    assert (StudyRecord(40, (*noise, *later)).overfitting() or 0.0) > 0.3
    assert StudyRecord(20, tuple(skilled)).overfitting() == 0.0


@pytest.mark.parametrize(
    "trials",
    [
        pytest.param((), id="none"),
        pytest.param((with_losses([1.0] * 48),), id="one"),
        pytest.param((with_losses([1.0] * 3), with_losses([2.0] * 3)), id="few-months"),
        pytest.param((with_losses([1.0] * 9), with_losses([2.0] * 9, first_month=900)), id="no-month-shared"),
    ],
)
def test_too_little_says_nothing_of_overfitting(trials: tuple[PriorTrial, ...]) -> None:
    assert StudyRecord(len(trials), trials).overfitting() is None


def test_tries_that_were_given_up_early_do_not_shorten_the_record() -> None:
    random = np.random.default_rng(8)
    whole = [with_losses(list(random.normal(size=48))) for _ in range(10)]

    with_pruned = StudyRecord(11, (*whole, with_losses([0.0] * 20)))

    assert with_pruned.overfitting() == StudyRecord(10, tuple(whole)).overfitting()
