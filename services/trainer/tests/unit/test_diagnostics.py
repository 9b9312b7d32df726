from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from mltrainer_features import TargetKind
from mltrainer_models import ArtifactError, LinearModel, ModelDescription, ModelTarget, save_model
from mltrainer_models.diagnostics import GainKind, read_diagnostics
from mltrainer_trainer.domain.diagnostics import diagnose
from mltrainer_trainer.domain.metrics import OutOfSample
from mltrainer_trainer.domain.training_data import TrainingData, to_microseconds

DATES, SYMBOLS, HORIZON = 200, 5, 2
START = to_microseconds(datetime(2020, 1, 1, 21, tzinfo=UTC))
DAY = to_microseconds(datetime(1970, 1, 2, tzinfo=UTC))


def panel(target: TargetKind) -> TrainingData:
    """Labels that are twice the first feature, and a second feature that says nothing."""
    random = np.random.default_rng(1)
    matrix = random.normal(size=(DATES * SYMBOLS, 2))
    date = np.repeat(np.arange(DATES), SYMBOLS)
    event_time = START + date * DAY
    return TrainingData(
        target,
        HORIZON,
        ("signal", "noise"),
        tuple(f"S{number}" for number in range(SYMBOLS)),
        np.tile(np.arange(SYMBOLS), DATES),
        event_time,
        event_time + HORIZON * DAY,
        date,
        matrix,
        2.0 * matrix[:, 0],
        0,
    )


def model() -> LinearModel:
    description = ModelDescription(
        "ridge", ModelTarget("EXCESS_RETURN", HORIZON), ("signal", "noise"), {}, {}
    )
    nothing, unit = np.zeros(2), np.ones(2)
    return LinearModel(description, nothing, unit, np.array([2.0, 0.0]), 0.0)


def out_of_sample(data: TrainingData) -> OutOfSample:
    rows = data.date >= 100
    return OutOfSample(data.date[rows], data.labels[rows], data.labels[rows] * 0.5, np.zeros(int(rows.sum())))


def test_predictions_agree_with_their_own_labels_and_no_later_ones() -> None:
    data = panel(TargetKind.EXCESS_RETURN)

    figures = diagnose(data, out_of_sample(data), save_model(model()), 7)

    by_lag = {one.lag_bars: one for one in figures.correlations}
    assert by_lag[0].mean == pytest.approx(1.0)
    assert all(abs(one.mean) < 5 * one.standard_error for lag, one in by_lag.items() if lag)
    assert max(by_lag) == 63


def test_an_overconfident_model_is_seen_in_its_calibration() -> None:
    data = panel(TargetKind.EXCESS_RETURN)

    bins = diagnose(data, out_of_sample(data), save_model(model()), 7).calibration

    assert len(bins) == 10
    assert sum(one.rows for one in bins) == 500
    assert all(one.observed == pytest.approx(2 * one.predicted) for one in bins)


def test_only_the_feature_that_is_used_matters() -> None:
    data = panel(TargetKind.EXCESS_RETURN)
    noisy = replace(data, labels=data.labels + np.random.default_rng(2).normal(size=len(data)))

    importance = diagnose(noisy, out_of_sample(noisy), save_model(model()), 7).importance

    assert [one.feature for one in importance] == ["signal", "noise"]
    assert importance[0].increase > 1.0
    assert importance[1].increase == 0.0


def test_returns_are_gained_once_per_holding_period_and_losses_every_day() -> None:
    returns, variance = panel(TargetKind.EXCESS_RETURN), panel(TargetKind.LOG_REALIZED_VARIANCE)

    strategy = diagnose(returns, out_of_sample(returns), save_model(model()), 7)
    losses = diagnose(variance, out_of_sample(variance), save_model(model()), 7)

    assert (strategy.gain_kind, len(strategy.gains)) == (GainKind.STRATEGY_RETURN, 50)
    assert (losses.gain_kind, len(losses.gains)) == (GainKind.LOSS_DIFFERENCE, 100)
    first = START // DAY + 100
    assert [one.day for one in strategy.gains[:2]] == [first, first + HORIZON]
    assert all(one.gain > 0 for one in (*strategy.gains, *losses.gains))


def test_figures_survive_their_spelling_and_others_are_refused() -> None:
    data = panel(TargetKind.EXCESS_RETURN)
    figures = diagnose(data, out_of_sample(data), save_model(model()), 7)

    again = read_diagnostics(figures.to_bytes())

    assert again == figures
    with pytest.raises(ArtifactError):
        read_diagnostics(figures.to_bytes()[:-1])
    with pytest.raises(ArtifactError):
        read_diagnostics(figures.to_bytes().replace(b'"format_version":1', b'"format_version":2'))


def test_the_figures_of_equal_inputs_are_the_same_bytes() -> None:
    data = panel(TargetKind.DIRECTION)

    first, second = (diagnose(data, out_of_sample(data), save_model(model()), 7).to_bytes() for _ in range(2))

    assert first == second
