"""Says how often the best of many configurations in one half of time is among the worse ones in the other.

Combinatorially symmetric cross-validation of Bailey, Borwein, López de Prado and Zhu (2015).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mltrainer_trainer.domain.training_data import Floats

BLOCK_COUNT = 16
_AT_ONCE = 512


@dataclass(frozen=True, eq=False, slots=True)
class _Sums:
    """Sums over the periods of each block, a line per block and a column per configuration."""

    count: Floats
    total: Floats
    squares: Floats

    def over(self, blocks: Floats) -> "_Sums":
        """Adds up the blocks that are 1 in each line."""
        return _Sums(blocks @ self.count, blocks @ self.total, blocks @ self.squares)


Measure = Callable[[_Sums, Floats], Floats]


@dataclass(frozen=True, eq=False, slots=True)
class Overfitting:
    """How a choice by one half of the periods did in the other.

    Attributes:
        probability: Share of the halves whose best configuration is below the median of the other half.
        slope: By how much the chosen one's performance in the other half rises with that in its own.
        logits: Of the relative rank in the other half, one per way to halve.
    """

    probability: float
    slope: float
    logits: Floats


def mean_measure(sums: _Sums, centre: Floats) -> Floats:
    """Measures by the mean over periods."""
    return np.asarray(sums.total / sums.count + centre)


def sharpe_measure(sums: _Sums, centre: Floats) -> Floats:
    """Measures by the Sharpe ratio per period; zero where nothing varies."""
    mean = sums.total / sums.count
    variance = (sums.squares - sums.count * mean**2) / (sums.count - 1)
    varies = variance > 1e-20 * (centre**2 + sums.squares.max(axis=0))
    return np.where(varies, (mean + centre) / np.sqrt(np.where(varies, variance, 1.0)), 0.0)


def backtest_overfitting(
    performance: Floats, block_count: int = BLOCK_COUNT, measure: Measure = mean_measure
) -> Overfitting:
    """Chooses by every half of the blocks and ranks the choice in the other half.

    `performance` has a line per period, in time order, and a column per configuration; more is better.

    Raises:
        ValueError: fewer than two configurations, fewer periods than blocks, or an odd number of blocks.
    """
    periods, configurations = performance.shape
    if configurations < 2 or periods < block_count or block_count % 2:
        raise ValueError(f"{configurations} configurations over {periods} periods in {block_count} blocks")
    centre = performance.mean(axis=0)
    parts = np.array_split(performance - centre, block_count)
    sums = _Sums(
        np.array([[float(len(part))] for part in parts]),
        np.stack([part.sum(axis=0) for part in parts]),
        np.stack([(part**2).sum(axis=0) for part in parts]),
    )
    pieces = [_choose(sums, centre, inside, measure) for inside in _halves(block_count)]
    logits, own, other = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    variance = float(own.var())
    slope = float(((own - own.mean()) * other).mean()) / variance if variance > 0 else 0.0
    return Overfitting(float((logits < 0).mean()), slope, logits)


def _halves(block_count: int) -> Iterator[Floats]:
    chosen = np.array(list(combinations(range(block_count), block_count // 2)))
    for some in np.array_split(chosen, -(-len(chosen) // _AT_ONCE)):
        inside = np.zeros((len(some), block_count))
        np.put_along_axis(inside, some, 1.0, axis=1)
        yield inside


def _choose(sums: _Sums, centre: Floats, inside: Floats, measure: Measure) -> tuple[Floats, Floats, Floats]:
    own, other = measure(sums.over(inside), centre), measure(sums.over(1 - inside), centre)
    lines, best = np.arange(len(own)), own.argmax(axis=1)
    reached = other[lines, best]
    below = (other < reached[:, np.newaxis]).sum(axis=1)
    equal = (other == reached[:, np.newaxis]).sum(axis=1)
    rank = (below + (equal + 1) / 2) / (other.shape[1] + 1)
    return np.log(rank / (1 - rank)), own[lines, best], reached
