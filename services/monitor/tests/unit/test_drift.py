from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_models import summarise_reference
from mltrainer_monitor.domain import drift
from mltrainer_monitor.domain.drift import DriftConclusion, Window, compare
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
NAMES = ("a", "b", "c", "d", "e")
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def _series(random: Any, days: int, columns: int, autocorrelation: float, common: float = 0.0) -> Floats:
    """Makes days × 10 symbols × columns of unit variance, of which the share `common` is one for all."""

    def path(*shape: int) -> Floats:
        noise = random.normal(size=(days + 50, *shape))
        for day in range(1, len(noise)):
            noise[day] = autocorrelation * noise[day - 1] + np.sqrt(1 - autocorrelation**2) * noise[day]
        return noise[50:]  # type: ignore[no-any-return]  # numpy's indexing returns Any

    return np.sqrt(common) * path(1, columns) + np.sqrt(1 - common) * path(10, columns)


def _window(values: Floats) -> Window:
    days, symbols, columns = values.shape
    rows = values.reshape(days * symbols, columns)
    return Window(np.repeat(np.arange(days) * 86_400.0, symbols), NAMES, rows[:, :-1], rows[:, -1])


def _reference(random: Any, autocorrelation: float, common: float) -> Any:
    rows = _series(random, 2_000, len(NAMES) + 1, autocorrelation, common).reshape(-1, len(NAMES) + 1)
    return summarise_reference(NAMES, rows[:, :-1], rows[:, -1])


@pytest.mark.parametrize(("autocorrelation", "common"), [(0.0, 0.0), (0.3, 0.5), (0.9, 0.8)])
@pytest.mark.parametrize("days", [30, 60, 250])
def test_without_a_change_alarms_are_rare_in_windows_of_any_length(
    days: int, autocorrelation: float, common: float
) -> None:
    random = np.random.default_rng(3)
    reference = _reference(random, autocorrelation, common)

    conclusions = [
        compare(reference, _window(_series(random, days, 6, autocorrelation, common)), 0.01).conclusion
        for _ in range(60)
    ]

    assert conclusions.count(DriftConclusion.DRIFTED) <= 2


@pytest.mark.parametrize(
    ("days", "mean", "scale"),
    [pytest.param(120, 1.0, 1.0, id="mean"), pytest.param(250, 0.0, 2.0, id="variance")],
)
def test_a_change_is_found_and_its_column_named(days: int, mean: float, scale: float) -> None:
    random = np.random.default_rng(4)
    values = _series(random, days, 6, 0.3, 0.5)
    values[:, :, 1] = mean + scale * values[:, :, 1]

    found = compare(_reference(random, 0.3, 0.5), _window(values), 0.01)

    assert found.conclusion is DriftConclusion.DRIFTED
    assert [one.feature for one in found.features if one.drifted] == ["b"]
    assert (found.reference_count, found.window_count) == (20_000, 10 * days)


def test_few_days_or_slow_columns_are_not_enough_whatever_the_number_of_rows() -> None:
    random = np.random.default_rng(5)
    reference = _reference(random, 0.0, 0.0)

    few = compare(reference, _window(5 + _series(random, 19, 6, 0.0)), 0.01)
    slow = compare(reference, _window(_series(random, 40, 6, 0.99, 0.9)), 0.01)

    assert few.conclusion is DriftConclusion.NOT_ENOUGH_DATA
    assert slow.conclusion is DriftConclusion.NOT_ENOUGH_DATA
    assert not any(one.drifted for one in few.features)


def test_a_point_mass_in_the_reference_is_no_drift() -> None:
    random = np.random.default_rng(6)
    rows = random.normal(size=(5_000, 6)).clip(min=0.3)
    reference = summarise_reference(NAMES, rows[:, :-1], np.zeros(5_000))
    same = random.normal(size=(100, 10, 6)).clip(min=0.3)

    found = compare(reference, _window(same), 0.01)

    assert found.conclusion is DriftConclusion.STABLE
    assert found.features[-1].p_value == 1.0


def test_values_that_are_no_numbers_and_missing_columns_are_left_out() -> None:
    random = np.random.default_rng(8)
    reference = _reference(random, 0.0, 0.0)
    values = random.normal(size=(60, 10, 6))
    values[:, 0, 0] = np.nan
    values[:, :, 1] = np.inf
    window = _window(values)
    window = Window(window.event_times, ("a", "b", "x", "d", "e"), window.features, window.predictions)

    found = compare(reference, window, 0.01)

    assert [one.feature for one in found.features] == ["a", "b", "d", "e", "prediction"]
    assert found.features[1].p_value == 1.0
    assert found.conclusion is DriftConclusion.STABLE


def test_rows_of_one_day_count_as_one_observation() -> None:
    random = np.random.default_rng(9)
    values, times = random.normal(size=500), np.repeat(np.arange(50.0), 10)

    count = drift.effective_count(values, times)

    assert 25 < count <= 50
    assert drift.effective_count(values, np.zeros(500)) == 1.0


@given(st.floats(0, 1), st.floats(1, 1e5))
def test_the_kolmogorov_tail_agrees_with_scipy(distance: float, count: float) -> None:
    root = np.sqrt(count)

    p_value = drift.kolmogorov_p_value(distance, count)

    assert p_value == pytest.approx(special.kolmogorov((root + 0.12 + 0.11 / root) * distance), abs=1e-9)


@given(st.floats(0, 500), st.integers(1, 12))
def test_the_chi_square_tail_agrees_with_scipy(x: float, degrees: int) -> None:
    assert drift.chi_square_tail(x, degrees) == pytest.approx(special.chdtrc(degrees, x), abs=1e-12)


@given(probabilities)
@settings(max_examples=50)
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = drift.holm(p_values)

    assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
    assert all(0 <= value <= 1 for value in adjusted)
    ordered = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[index] for index in ordered] == sorted(adjusted)
