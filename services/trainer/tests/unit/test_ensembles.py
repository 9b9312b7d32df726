import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_features import TargetKind
from mltrainer_trainer.domain.ensembles import (
    OutOfFold,
    build_ensemble,
    shrinkage_slope,
    simplex_weights,
    variance_level,
)

DATES, SYMBOLS, HORIZON = 400, 5, 5
ROWS = DATES * SYMBOLS


def rows_of(labels: np.ndarray, *predictions: np.ndarray) -> OutOfFold:
    date = np.repeat(np.arange(DATES), SYMBOLS)
    fold = (date >= DATES // 2).astype(np.int64)
    return OutOfFold(date, fold, labels, np.zeros(ROWS), np.stack(predictions, axis=1))


def noise(seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=ROWS)


def test_models_that_err_differently_are_averaged() -> None:
    labels = noise(1)
    rows = rows_of(labels, labels + noise(2, 0.5), labels + noise(3, 0.5))

    ensemble = build_ensemble(["a", "b"], rows, TargetKind.EXCESS_RETURN, HORIZON)

    assert ensemble.weights == {"a": 0.5, "b": 0.5}
    assert ensemble.objective < 0.6 * 0.25


def test_a_model_that_is_clearly_worse_carries_no_weight() -> None:
    labels = noise(1)
    rows = rows_of(labels, labels + noise(2, 0.5), labels + noise(3, 0.7))

    assert list(build_ensemble(["a", "b"], rows, TargetKind.EXCESS_RETURN, HORIZON).weights) == ["a"]


def test_equal_models_are_worth_no_more_than_one() -> None:
    labels = noise(1)
    prediction = labels + noise(2, 0.5)

    ensemble = build_ensemble(
        ["a", "b"], rows_of(labels, prediction, prediction), TargetKind.DIRECTION, HORIZON
    )

    assert ensemble.weights == {"a": 1.0}


def test_predictions_of_noise_are_shrunk_to_nothing_or_nearly() -> None:
    date = np.repeat(np.arange(DATES), SYMBOLS)

    slopes = [shrinkage_slope(date, noise(seed), noise(seed + 500, 0.1), HORIZON) for seed in range(60)]

    # Half of the slopes are negative, and most of the others are less than a standard error above zero.
    assert sum(slope == 0.0 for slope in slopes) > 0.7 * len(slopes)
    assert all(0.0 <= slope <= 1.0 for slope in slopes)


def test_predictions_that_hold_are_left_as_they_are() -> None:
    date = np.repeat(np.arange(DATES), SYMBOLS)
    prediction = noise(4)

    assert shrinkage_slope(date, prediction + noise(5, 0.5), prediction, HORIZON) == pytest.approx(
        1.0, abs=0.05
    )
    assert shrinkage_slope(date, 0.5 * prediction + noise(5, 0.1), prediction, HORIZON) == pytest.approx(
        0.5, abs=0.05
    )


def test_predictions_that_never_change_have_no_slope() -> None:
    assert shrinkage_slope(np.arange(ROWS), noise(1), np.zeros(ROWS), HORIZON) == 0.0


def test_the_level_of_log_variances_rises_as_far_as_its_cost_allows() -> None:
    errors = noise(6)

    level = variance_level(errors)

    assert level**2 == pytest.approx(0.0025 * (errors**2).mean())
    assert np.mean(np.exp(errors - level)) < np.mean(np.exp(errors))
    assert variance_level(np.full(10, -1.0)) == 0.0


@given(seed=st.integers(0, 10_000), members=st.integers(1, 4))
def test_weights_are_a_mixture_and_no_mixture_is_better(seed: int, members: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.normal(size=60)
    predictions = labels[:, np.newaxis] + random.normal(size=(60, members)) * random.uniform(0.1, 2, members)

    weights = simplex_weights(labels, predictions)

    def loss(mixture: np.ndarray) -> float:
        return float(((predictions @ mixture - labels) ** 2).mean())

    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0)
    others = random.dirichlet(np.ones(members), size=50)
    assert all(loss(weights) <= loss(other) + 1e-9 for other in others)


def test_a_combination_is_shrunk_towards_its_centre() -> None:
    labels = noise(1)
    ensemble = build_ensemble(["a"], rows_of(labels, labels * 4), TargetKind.EXCESS_RETURN, HORIZON)

    combined = ensemble.combine({"a": np.array([2.0, 6.0])}, 2.0)

    assert combined.tolist() == pytest.approx([2.0, 3.0])
