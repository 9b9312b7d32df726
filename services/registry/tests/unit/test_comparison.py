"""The statistics of comparing two versions: known values, and how often noise passes."""

import random
from dataclasses import replace
from math import sqrt

import pytest
from mltrainer_models import DailyLoss, LossKind, ModelEvaluation
from mltrainer_registry.domain.comparison import (
    NotComparableError,
    hac_error,
    loss_reduction,
    metric_gain,
    student_quantile,
)


def evaluation(values: list[float], overlap_days: int = 4) -> ModelEvaluation:
    return ModelEvaluation(("A",), overlap_days, tuple(DailyLoss(*one, 5) for one in enumerate(values)))


@pytest.mark.parametrize(
    ("confidence", "degrees", "expected"),
    [(0.95, 9, 1.8331), (0.975, 9, 2.2622), (0.99, 20, 2.5280), (0.95, 200, 1.6525)],
)
def test_quantiles_are_those_of_the_tables(confidence: float, degrees: int, expected: float) -> None:
    assert student_quantile(confidence, degrees) == pytest.approx(expected, abs=0.002)


def test_the_error_of_independent_values_is_the_ordinary_one() -> None:
    source = random.Random(1)
    values = [source.gauss(0, 2) for _ in range(10_000)]

    assert hac_error(values, 0) == pytest.approx(2 / sqrt(10_000), rel=0.1)


def test_noise_passes_about_as_often_as_the_confidence_says() -> None:
    source, passed, panels = random.Random(7), 0, 400
    for _ in range(panels):
        shocks = [[source.gauss(0, 1) for _ in range(256)] for _ in range(2)]
        # Labels of five days: each loss shares its shocks with the four days before.
        own, theirs = ([10 + sum(side[day : day + 5]) for day in range(252)] for side in shocks)
        estimate, _ = loss_reduction(evaluation(own), evaluation(theirs), confidence=0.95, min_days=60)
        passed += estimate.bound > 0

    assert 0.02 <= passed / panels <= 0.09


def test_a_comparison_needs_enough_periods_without_overlap() -> None:
    values = [1.0 + day % 3 for day in range(100)]

    with pytest.raises(NotComparableError) as refused:
        loss_reduction(evaluation(values, 19), evaluation(values, 4), confidence=0.95, min_days=60)

    assert "5 without overlap" in refused.value.why


def test_the_error_of_two_metrics_is_that_of_independent_ones() -> None:
    gain = metric_gain(0.6, 0.03, 0.5, 0.04, confidence=0.5)

    assert (gain.value, gain.standard_error, gain.bound) == pytest.approx((0.2, 0.1, 0.2))


def test_unlike_losses_are_never_held_against_each_other() -> None:
    present = evaluation([0.5] * 200)
    candidate = replace(present, loss_kind=LossKind.ONE_MINUS_RANK_CORRELATION)

    with pytest.raises(NotComparableError) as refused:
        loss_reduction(candidate, present, confidence=0.95, min_days=60)

    assert refused.value.why == "their losses are one_minus_rank_correlation and squared_error"
