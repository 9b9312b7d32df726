import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_trainer.domain.sharpe import (
    Moments,
    deflated_sharpe,
    expected_maximum_sharpe,
    moments,
    probabilistic_sharpe,
    sharpe_ratio,
)

RETURNS = np.array([0.012, -0.007, 0.031, 0.004, -0.022, 0.018, 0.009, -0.003, 0.027, -0.015, 0.006, 0.001])
TRIALS = (0.31, 0.05, -0.12, 0.22, 0.18, 0.02, -0.27)


def test_the_worked_example_of_bailey_and_lopez_de_prado_comes_out() -> None:
    # The Deflated Sharpe Ratio (2014): 100 trials of variance 1/2 a year, 1,250 days, Sharpe 2.5 a year.
    benchmark = expected_maximum_sharpe(100, 0.5 / 250)

    probability = probabilistic_sharpe(2.5 / np.sqrt(250), benchmark, Moments(1_250, -3, 10))

    assert f"{benchmark:.4f}" == "0.1132"
    assert f"{probability:.4f}" == "0.9004"


def test_the_numbers_of_skfolio_come_out() -> None:
    # skfolio 1.12.2: probabilistic_sharpe_ratio and deflated_sharpe_ratio of these returns and trials.
    observed, sample = sharpe_ratio(RETURNS), moments(RETURNS)

    assert probabilistic_sharpe(observed, 0.0, sample) == pytest.approx(0.8530997076917, abs=1e-12)
    assert probabilistic_sharpe(observed, 0.1, sample) == pytest.approx(0.7652659816451, abs=1e-12)
    assert deflated_sharpe(RETURNS, TRIALS) == pytest.approx(0.5533964626595, abs=1e-12)


def test_a_strategy_without_skill_that_was_picked_from_many_is_not_believed() -> None:
    random = np.random.default_rng(3)
    tries = random.normal(size=(50, 250))
    ratios = [sharpe_ratio(one) for one in tries]
    best = tries[int(np.argmax(ratios))]

    assert deflated_sharpe(best, ratios[:1]) > 0.95
    assert deflated_sharpe(best, ratios) < 0.95


def test_tries_with_unknown_ratios_count_as_much_as_known_ones() -> None:
    random = np.random.default_rng(4)
    returns = random.normal(0.1, 1, size=250)
    ratios = [sharpe_ratio(one) for one in random.normal(size=(20, 250))]

    assert deflated_sharpe(returns, ratios, trial_count=200) < deflated_sharpe(returns, ratios)
    assert deflated_sharpe(returns, (), trial_count=200) < deflated_sharpe(returns, (), trial_count=2)


@given(ratio=st.floats(-1, 1), repeats=st.integers(1, 200))
def test_one_configuration_tried_again_and_again_raises_no_bar(ratio: float, repeats: int) -> None:
    assert deflated_sharpe(RETURNS, [ratio] * repeats) == pytest.approx(deflated_sharpe(RETURNS, [ratio]))


def test_no_returns_have_no_skill() -> None:
    assert deflated_sharpe(np.zeros(100), [0.1]) == 0.0
    assert sharpe_ratio(np.full(9, 0.1)) == 0.0
    assert expected_maximum_sharpe(1, 1.0) == 0.0
    assert probabilistic_sharpe(1.0, 0.0, Moments(2)) == 0.0
