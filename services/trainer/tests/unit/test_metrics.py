import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_features import TargetKind
from mltrainer_trainer.domain.metrics import (
    OutOfSample,
    average_ranks,
    information_coefficient,
    joined,
    mean_by_date,
    qlike,
    r_squared,
    root_mean_squared_error,
    strategy_returns,
)
from mltrainer_trainer.domain.objectives import score, standard_errors


def result_of(labels: list[float], predictions: list[float], date: list[int] | None = None) -> OutOfSample:
    count = len(labels)
    dates = np.array(date or range(count))
    return OutOfSample(dates, np.array(labels), np.array(predictions), np.zeros(count))


def test_r_squared_compares_with_the_training_mean_of_each_fold() -> None:
    first = OutOfSample(np.array([0]), np.array([1.0]), np.array([1.0]), np.array([0.0]))
    second = OutOfSample(np.array([1]), np.array([1.0]), np.array([0.0]), np.array([3.0]))

    assert r_squared(joined([first, second])) == pytest.approx(1 - 1 / (1 + 4))


def test_predicting_the_training_mean_scores_zero() -> None:
    assert r_squared(result_of([1.0, -2.0], [0.0, 0.0])) == 0.0


def test_qlike_matches_its_formula() -> None:
    expected = np.mean([np.exp(0.5) - 0.5 - 1, np.exp(-0.5) + 0.5 - 1])

    assert qlike(result_of([1.0, 1.0], [0.5, 1.5])) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=20))
def test_losses_are_finite_and_at_least_zero(pairs: list[tuple[float, float]]) -> None:
    result = result_of([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    assert 0 <= qlike(result) < np.inf
    assert 0 <= root_mean_squared_error(result) < np.inf


def test_information_coefficients_average_over_dates() -> None:
    result = result_of([1.0, 2.0, 30.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 3.0, 2.0, 1.0], [0, 0, 0, 1, 1, 1])

    assert information_coefficient(result, 1, of_ranks=True).mean == pytest.approx(0.0)
    assert information_coefficient(result, 1, of_ranks=False).mean < 0


def test_constant_predictions_correlate_with_nothing() -> None:
    result = result_of([1.0, 2.0, 3.0], [0.1, 0.1, 0.1], [0, 0, 0])

    assert information_coefficient(result, 1, of_ranks=False).mean == 0.0
    assert strategy_returns(result, 1).tolist() == [0.0]


def test_means_by_date_follow_time() -> None:
    assert mean_by_date(np.array([3, 3, 7]), np.array([1.0, 3.0, 5.0])).tolist() == [2.0, 5.0]


def test_a_strategy_holds_one_unit_and_skips_overlapping_dates() -> None:
    result = result_of([0.1, -0.1, 9.0, 9.0, 0.2, 0.2], [1.0, -1.0, 1.0, -1.0, 3.0, 1.0], [0, 0, 1, 1, 2, 2])

    assert strategy_returns(result, 2).tolist() == pytest.approx([0.1, 0.0])


def test_each_target_has_its_metrics() -> None:
    result = result_of([1.0, 2.0], [1.5, 1.5])
    common = {"r2", "rmse", "ic", "rank_ic"}

    assert set(score(result, TargetKind.LOG_REALIZED_VARIANCE, 1)) == {*common, "qlike"}
    assert set(score(result, TargetKind.EXCESS_RETURN, 1)) == common
    assert set(score(result, TargetKind.DIRECTION, 1)) == {*common, "log_loss", "brier", "calibration_error"}


def test_predictions_that_take_positions_are_scored_as_a_strategy() -> None:
    random = np.random.default_rng(1)
    date, symbol = np.repeat(np.arange(200), 5), np.tile(np.arange(5), 200)
    labels = random.normal(scale=0.02, size=1_000)
    result = OutOfSample(date, labels, labels + random.normal(scale=0.1, size=1_000), np.zeros(1_000), symbol)

    scores = score(result, TargetKind.EXCESS_RETURN, 5)

    assert {"sharpe", "net_sharpe", "turnover", "drawdown"} < set(scores)
    assert scores["net_sharpe"] < scores["sharpe"]
    assert 0 < scores["turnover"] <= 2


@pytest.mark.parametrize(
    ("target", "name"),
    [
        pytest.param(TargetKind.EXCESS_RETURN, "sharpe", id="sharpe"),
        pytest.param(TargetKind.DIRECTION, "brier", id="brier"),
        pytest.param(TargetKind.DIRECTION, "log_loss", id="log-loss"),
        pytest.param(TargetKind.LOG_REALIZED_VARIANCE, "qlike", id="qlike"),
    ],
)
def test_confidence_intervals_of_overlapping_labels_hold_what_they_promise(
    target: TargetKind, name: str
) -> None:
    values, errors = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        daily = random.normal(size=(154, 3)) + random.normal(size=(154, 1))
        labels = np.apply_along_axis(np.convolve, 0, daily, np.ones(5), "valid").ravel() / 5
        if target == TargetKind.DIRECTION:
            labels = (labels > 0).astype(float)
        predictions = 0.5 + 0.1 * random.normal(size=len(labels))
        date, symbol = np.repeat(np.arange(150), 3), np.tile(np.arange(3), 150)
        result = OutOfSample(date, labels, predictions, np.zeros(len(labels)), symbol)
        values.append(score(result, target, 5)[name])
        errors.append(standard_errors(result, target, 5)[name])

    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)


def test_ranks_of_all_dates_at_once_are_those_of_each_date() -> None:
    random = np.random.default_rng(4)
    date = random.integers(0, 40, 600)
    values = np.round(random.normal(size=600), 1)
    labels = np.round(random.normal(size=600), 1)
    expected = []
    for one in np.unique(date):
        left, right = average_ranks(values[date == one]), average_ranks(labels[date == one])
        expected.append(np.corrcoef(left, right)[0, 1])

    result = OutOfSample(date, labels, values, np.zeros(600))

    assert information_coefficient(result, 1, of_ranks=True).mean == pytest.approx(
        np.mean(expected), abs=1e-12
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.0]), st.floats(-3, 3)),
        min_size=1,
        max_size=40,
    )
)
def test_rank_correlation_is_that_of_each_dates_average_ranks(rows: list[tuple[int, float, float]]) -> None:
    date, labels, predictions = (list(values) for values in zip(*rows, strict=True))
    result = result_of(labels, predictions, date)
    ranked = [np.empty(len(rows)), np.empty(len(rows))]
    for day in set(date):
        chosen = result.date == day
        for ranks, values in zip(ranked, (result.labels, result.predictions), strict=True):
            ranks[chosen] = average_ranks(values[chosen])
    by_hand = OutOfSample(result.date, ranked[0], ranked[1], result.training_mean)

    found = information_coefficient(result, 1, of_ranks=True)

    assert found == information_coefficient(by_hand, 1, of_ranks=False)
