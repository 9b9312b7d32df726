from itertools import product

import numpy as np
import pytest
from mltrainer_features import TargetKind
from mltrainer_trainer.domain.calibration import area_under_curve
from mltrainer_trainer.domain.holdings import held_portfolio, sharpe_losses
from mltrainer_trainer.domain.inference import hac_mean
from mltrainer_trainer.domain.metrics import OutOfSample, information_coefficient, mean_by_date
from mltrainer_trainer.domain.objectives import OBJECTIVES, score
from mltrainer_trainer.domain.orderings import discounted_gain, order_losses
from mltrainer_trainer.domain.sharpe import sharpe_error, sharpe_ratio

DATES, SYMBOLS = 60, 8


def random_panel(seed: int) -> OutOfSample:
    random = np.random.default_rng(seed)
    date, symbol = (it.ravel() for it in np.mgrid[0:DATES, 0:SYMBOLS])
    labels = random.normal(size=DATES * SYMBOLS)
    predictions = np.round(labels + random.normal(size=len(labels)), 1)
    return OutOfSample(date, labels, predictions, np.zeros(len(labels)), symbol)


def test_every_kind_of_label_has_an_objective() -> None:
    assert set(OBJECTIVES) == set(TargetKind)


def test_the_loss_of_an_order_is_one_less_its_rank_correlation() -> None:
    result = random_panel(1)

    losses = mean_by_date(result.date, order_losses(result))

    assert 1 - losses.mean() == pytest.approx(information_coefficient(result, 1, of_ranks=True).mean)


def test_an_order_without_differences_is_worth_what_chance_is() -> None:
    result = random_panel(2)
    equal = OutOfSample(result.date, result.labels, np.zeros(len(result)), result.training_mean)
    random = np.random.default_rng(3)
    shuffled = [
        OutOfSample(result.date, result.labels, random.normal(size=len(result)), result.training_mean)
        for _ in range(200)
    ]

    assert mean_by_date(equal.date, order_losses(equal)) == pytest.approx(np.ones(DATES))
    chance = np.mean([discounted_gain(it).mean() for it in shuffled])
    assert discounted_gain(equal).mean() == pytest.approx(chance, abs=0.005)


def test_the_true_order_gains_everything() -> None:
    result = random_panel(4)
    true = OutOfSample(result.date, result.labels, 3 * result.labels, result.training_mean)

    assert discounted_gain(true) == pytest.approx(np.ones(DATES))
    assert mean_by_date(true.date, order_losses(true)) == pytest.approx(np.zeros(DATES), abs=1e-12)


def test_keeping_equal_weights_takes_trades() -> None:
    date, symbol = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    labels, weights = np.array([0.2, 0.0, 0.0, 0.0]), np.full(4, 0.5)

    held = held_portfolio(OutOfSample(date, labels, weights, np.zeros(4), symbol))

    drifted = 0.6 / 1.1
    assert held.returns == pytest.approx([0.1, 0.0])
    assert held.turnover == pytest.approx([1.0, 2 * (drifted - 0.5)])
    assert held.net_returns(0.01) == pytest.approx([0.09, -0.01 * 2 * (drifted - 0.5)])


def test_losses_of_portfolios_add_up_to_their_sharpe_ratio_and_its_error() -> None:
    result = random_panel(5)
    weights = np.full(len(result), 1 / SYMBOLS)
    held = OutOfSample(result.date, 0.01 * result.labels, weights, result.training_mean, result.symbol)
    net = held_portfolio(held).net_returns()

    losses = mean_by_date(held.date, sharpe_losses(held))

    assert losses.mean() == pytest.approx(-sharpe_ratio(net), abs=1e-12)
    assert hac_mean(losses).standard_error == pytest.approx(sharpe_error(net), rel=1e-9)


def test_the_area_under_the_curve_counts_pairs() -> None:
    random = np.random.default_rng(6)
    labels, scores = (random.random(50) < 0.3).astype(float), np.round(random.random(50), 1)
    pairs = list(product(scores[labels == 1], scores[labels == 0]))
    expected = np.mean([(one > other) + 0.5 * (one == other) for one, other in pairs])

    assert area_under_curve(labels, scores) == pytest.approx(expected)
    assert area_under_curve(np.ones(4), np.arange(4.0)) == 0.5


def test_a_rate_that_differs_from_fold_to_fold_tells_no_rows_apart() -> None:
    labels, rates = np.array([0.0, 1.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.1, 0.1])

    result = OutOfSample(np.arange(4), labels, rates, rates)

    assert score(result, TargetKind.TAIL_EVENT, 1)["auc"] == 0.5
