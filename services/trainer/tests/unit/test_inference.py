import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_trainer.domain.inference import (
    deflate_p_value,
    hac_mean,
    ratio_error,
)


def autoregressive(seed: int, count: int, memory: float) -> np.ndarray:
    shocks = np.random.default_rng(seed).normal(size=count + 50)
    values = np.zeros_like(shocks)
    for index in range(1, len(values)):
        values[index] = memory * values[index - 1] + shocks[index]
    return values[50:]


def test_the_error_of_independent_values_is_the_ordinary_one() -> None:
    values = np.random.default_rng(1).normal(size=20_000)

    estimate = hac_mean(values)

    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.standard_error == pytest.approx(values.std() / np.sqrt(20_000), rel=0.1)


def test_bartlett_weights_match_a_hand_calculation() -> None:
    values = np.array([1.0, 2.0, 4.0, 1.0])
    centred = values - 2.0
    variance = (
        centred @ centred
        + 2 * (2 / 3) * (centred[1:] @ centred[:-1])
        + 2 * (1 / 3) * (centred[2:] @ centred[:-2])
    )

    assert hac_mean(values, minimum_lag=2).standard_error == pytest.approx(np.sqrt(variance) / 4)


def test_the_error_of_dependent_values_is_near_the_true_one() -> None:
    means = [autoregressive(seed, 1_000, 0.5).mean() for seed in range(200)]
    claimed = np.mean([hac_mean(autoregressive(seed, 1_000, 0.5)).standard_error for seed in range(50)])

    assert claimed == pytest.approx(np.std(means), rel=0.25)


def test_a_one_sided_test_of_overlapping_sums_keeps_its_size() -> None:
    rejections = 0
    for seed in range(400):
        daily = np.random.default_rng(seed).normal(size=1_000)
        overlapping = np.convolve(daily, np.ones(5), mode="valid")
        rejections += hac_mean(overlapping, minimum_lag=9).p_value < 0.05

    assert rejections <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


def test_values_without_spread_show_nothing() -> None:
    estimate = hac_mean(np.full(10, 2.0))

    assert (estimate.mean, estimate.p_value, estimate.t_statistic) == (2.0, 1.0, 0.0)
    assert hac_mean(np.empty(0)).p_value == 1.0


@given(p_value=st.floats(0, 1), count=st.integers(1, 10_000))
def test_more_trials_never_make_a_result_more_significant(p_value: float, count: int) -> None:
    fewer, more = deflate_p_value(p_value, count), deflate_p_value(p_value, count + 1)

    assert p_value - 1e-12 <= fewer <= more + 1e-12
    assert more <= 1.0


def test_the_best_of_many_null_results_is_within_chance() -> None:
    assert deflate_p_value(0.01, 100) == pytest.approx(1 - 0.99**100)


def test_the_error_of_a_ratio_is_that_of_its_linearisation() -> None:
    random = np.random.default_rng(5)
    ratios, errors = [], []
    for _ in range(300):
        denominator = 2 + random.random(400)
        numerator = 0.6 * denominator + np.convolve(random.standard_normal(404), np.ones(5), "valid") / 5
        ratios.append(numerator.sum() / denominator.sum())
        errors.append(ratio_error(numerator, denominator, 4))

    # Bartlett weights see four fifths of such a correlation.
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.25)
