import numpy as np
import pytest
from mltrainer_trainer.domain.metrics import OutOfSample, strategy_returns
from mltrainer_trainer.domain.strategies import maximum_drawdown, trade


def test_a_strategy_earns_what_the_metric_says_and_counts_what_it_trades() -> None:
    date = np.array([0, 0, 1, 1, 2, 2])
    symbol = np.array([0, 1, 0, 1, 0, 1])
    labels = np.array([0.1, -0.1, 9.0, 9.0, 0.2, 0.0])
    predictions = np.array([1.0, -1.0, 1.0, -1.0, -3.0, 1.0])

    strategy = trade(date, symbol, labels, predictions, 2)

    assert strategy.positions.tolist() == [[0.5, -0.5], [-0.5, 0.5]]
    assert strategy.returns.tolist() == pytest.approx([0.1, -0.1])
    assert strategy.turnover.tolist() == [1.0, 2.0]
    assert strategy.net_returns(0.01).tolist() == pytest.approx([0.09, -0.12])


def test_symbols_that_come_and_go_are_bought_and_sold() -> None:
    date, symbol = np.array([0, 0, 1, 1]), np.array([4, 9, 4, 7])

    strategy = trade(date, symbol, np.zeros(4), np.array([1.0, 0.0, 1.0, 0.0]), 1)

    assert strategy.positions.tolist() == [[0.5, 0.0, -0.5], [0.5, -0.5, 0.0]]
    assert strategy.turnover.tolist() == [1.0, 1.0]


def test_both_ways_to_compute_returns_agree() -> None:
    random = np.random.default_rng(1)
    date, symbol = np.repeat(np.arange(60), 7), np.tile(np.arange(7), 60)
    labels, predictions = random.normal(size=(2, 420))
    result = OutOfSample(date, labels, predictions, np.zeros(420), symbol)

    strategy = trade(date, symbol, labels, predictions, 5)

    assert strategy.returns.tolist() == pytest.approx(strategy_returns(result, 5).tolist())


def test_predictions_without_spread_trade_nothing() -> None:
    strategy = trade(np.zeros(3, int), np.arange(3), np.ones(3), np.full(3, 0.1), 1)

    assert (strategy.turnover.tolist(), strategy.returns.tolist()) == ([0.0], [0.0])


def test_a_drawdown_is_the_largest_fall_from_a_peak() -> None:
    assert maximum_drawdown(np.array([0.1, -0.3, 0.1, -0.2, 0.5])) == pytest.approx(0.4)
    assert maximum_drawdown(np.array([-0.2, 0.1])) == pytest.approx(0.2)
    assert maximum_drawdown(np.array([0.1])) == 0.0
