"""The promise of the sequential test, on seeded simulations and by its algebra."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_experiment.domain.evidence import (
    Look,
    bandwidth,
    long_run_variance,
    looks,
    sample_ratio_p_value,
)
from numpy.typing import NDArray

RUNS = 150
DAYS = 150
ALPHA = 0.05
# Nominal 5 % and three standard errors of 150 runs: 0.05 + 3 sqrt(0.05 · 0.95 / 150).
BOUND = 0.103
series = st.lists(st.floats(-100, 100), min_size=25, max_size=60).filter(lambda values: np.std(values) > 1e-3)


def _autoregressive(generator: np.random.Generator, coefficient: float) -> NDArray[np.float64]:
    noise = generator.standard_normal(DAYS + 50)
    values = np.zeros(DAYS + 50)
    for index in range(1, DAYS + 50):
        values[index] = coefficient * values[index - 1] + noise[index]
    return values[50:] * math.sqrt(1.0 - coefficient**2)


def _is_decided(differences: NDArray[np.float64]) -> bool:
    return any(look.p_value <= ALPHA for look in looks(list(differences), ALPHA, 20))


@pytest.mark.parametrize("coefficient", [pytest.param(0.0, id="iid"), pytest.param(0.3, id="AR(.3)")])
def test_looking_every_day_at_no_difference_decides_falsely_as_seldom_as_promised(coefficient: float) -> None:
    generator = np.random.default_rng(20_260_105)

    false_decisions = sum(_is_decided(_autoregressive(generator, coefficient)) for _ in range(RUNS))

    assert false_decisions / RUNS <= BOUND


def test_a_clear_difference_is_found() -> None:
    generator = np.random.default_rng(7)

    found = sum(_is_decided(_autoregressive(generator, 0.0) - 0.5) for _ in range(20))

    assert found == 20


@given(series)
def test_p_values_never_rise_and_lie_between_0_and_1(differences: list[float]) -> None:
    p_values = [look.p_value for look in looks(differences, ALPHA, 20)]

    assert p_values == sorted(p_values, reverse=True)
    assert all(0.0 <= p_value <= 1.0 for p_value in p_values)


@given(series)
def test_the_interval_leaves_zero_exactly_when_the_p_value_passes_alpha(differences: list[float]) -> None:
    for look in looks(differences, ALPHA, 20):
        excludes_zero = look.lower > 0.0 or look.upper < 0.0
        if look.p_value > ALPHA * (1 + 1e-9):
            assert not excludes_zero
        elif excludes_zero:
            assert look.p_value <= ALPHA * (1 + 1e-9)
            break


@given(series, st.floats(0.01, 100))
def test_the_unit_of_the_metric_does_not_matter(differences: list[float], scale: float) -> None:
    plain = list(looks(differences, ALPHA, 20))
    scaled = list(looks([scale * value for value in differences], ALPHA, 20))

    assert [one.p_value for one in scaled] == pytest.approx([one.p_value for one in plain], abs=1e-6)


def test_equal_differences_have_no_spread_to_be_judged_by() -> None:
    (last,) = list(looks([0.5] * 20, ALPHA, 20))

    assert last == Look(20, 0.5, -math.inf, math.inf, 1.0)


def test_the_bandwidth_grows_slowly() -> None:
    assert [bandwidth(days) for days in (1, 20, 100, 250)] == [0, 2, 4, 4]


def test_dependence_raises_the_variance_of_the_mean() -> None:
    dependent = _autoregressive(np.random.default_rng(3), 0.6)

    assert long_run_variance(dependent) > 1.5 * float(dependent.var())


@pytest.mark.parametrize(
    ("observed", "is_broken"),
    [
        pytest.param([5_000, 5_100], False, id="chance"),
        pytest.param([5_000, 5_600], True, id="broken"),
        pytest.param([0, 9], False, id="too few to tell"),
        pytest.param([0, 0], False, id="none"),
    ],
)
def test_a_broken_split_is_seen(observed: list[int], is_broken: bool) -> None:
    assert (sample_ratio_p_value(observed, [0.5, 0.5]) < 0.001) is is_broken
