from itertools import combinations

import numpy as np
import pytest
from mltrainer_trainer.domain.overfitting import backtest_overfitting, mean_measure, sharpe_measure


def plainly(performance: np.ndarray, blocks: int) -> float:
    """Halves, picks and ranks one way after the other."""
    parts = np.array_split(np.arange(len(performance)), blocks)
    losses = 0
    halves = list(combinations(range(blocks), blocks // 2))
    for half in halves:
        inside = np.concatenate([parts[block] for block in half])
        outside = np.setdiff1d(np.arange(len(performance)), inside)
        best = performance[inside].mean(axis=0).argmax()
        other = performance[outside].mean(axis=0)
        losses += (other < other[best]).sum() + 1 < (len(other) + 1) / 2
    return losses / len(halves)


@pytest.mark.parametrize("seed", range(5))
def test_it_counts_what_a_plain_count_finds(seed: int) -> None:
    performance = np.random.default_rng(seed).normal(size=(37, 6))

    assert backtest_overfitting(performance, 8).probability == plainly(performance, 8)


def test_noise_chosen_from_is_overfitted_half_of_the_time_and_more() -> None:
    random = np.random.default_rng(1)

    found = [backtest_overfitting(random.normal(size=(64, 20)), 8).probability for _ in range(30)]

    assert 0.45 < np.mean(found) < 0.75


@pytest.mark.parametrize("measure", [mean_measure, sharpe_measure])
def test_a_configuration_that_is_always_best_is_no_overfitting(measure: object) -> None:
    performance = np.random.default_rng(2).normal(size=(160, 10))
    performance[:, 3] += 3.0

    result = backtest_overfitting(performance, measure=measure)  # type: ignore[arg-type] # either of two

    assert result.probability == 0.0
    assert len(result.logits) == 12_870


def test_configurations_that_never_change_have_no_sharpe_ratio() -> None:
    performance = np.random.default_rng(3).normal(size=(32, 3))
    performance[:, 0] = 5.0

    assert np.isfinite(backtest_overfitting(performance, 4, sharpe_measure).logits).all()


@pytest.mark.parametrize(("shape", "blocks"), [((32, 1), 4), ((3, 5), 4), ((32, 5), 5)])
def test_what_cannot_be_halved_is_refused(shape: tuple[int, int], blocks: int) -> None:
    with pytest.raises(ValueError, match="configurations over"):
        backtest_overfitting(np.ones(shape), blocks)
