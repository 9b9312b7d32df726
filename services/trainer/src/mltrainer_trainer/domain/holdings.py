"""Portfolios that are held: what they return, how they drift, and what it costs to put them right again."""

from dataclasses import dataclass

import numpy as np

from mltrainer_trainer.domain.metrics import OutOfSample
from mltrainer_trainer.domain.strategies import COST_OF_TRADING
from mltrainer_trainer.domain.training_data import Floats


@dataclass(frozen=True, eq=False, slots=True)
class HeldPortfolio:
    """Weights at the start of each period and the simple return of each symbol over it, a column each.

    What the weights leave of one is held as cash without interest.
    """

    positions: Floats
    gains: Floats

    @property
    def returns(self) -> Floats:
        """Returns before costs."""
        return np.asarray((self.positions * self.gains).sum(axis=1))

    @property
    def turnover(self) -> Floats:
        """Sums what is bought and sold at the start of each period; the first one buys everything.

        Weights drift with prices over a period, so keeping equal weights takes trades, too.
        """
        grown = self.positions * (1 + self.gains) / (1 + self.returns)[:, np.newaxis]
        before = np.vstack([np.zeros(self.positions.shape[1]), grown[:-1]])
        return np.asarray(np.abs(self.positions - before).sum(axis=1))

    def net_returns(self, cost_of_trading: float = COST_OF_TRADING) -> Floats:
        """Subtracts what trading costs."""
        return np.asarray(self.returns - cost_of_trading * self.turnover)


def held_portfolio(result: OutOfSample) -> HeldPortfolio:
    """Reads predictions as weights and labels as simple returns; every date is a period of its own."""
    if result.symbol is None:
        raise ValueError("weights without symbols are no portfolio")
    rows = np.unique(result.date, return_inverse=True)[1]
    columns = np.unique(result.symbol, return_inverse=True)[1]
    shape = (int(rows.max(initial=-1)) + 1, int(columns.max(initial=-1)) + 1)
    positions, gains = np.zeros(shape), np.zeros(shape)
    positions[rows, columns], gains[rows, columns] = result.predictions, result.labels
    return HeldPortfolio(positions, gains)


def sharpe_losses(result: OutOfSample) -> Floats:
    """Gives every row what its date takes away from the Sharpe ratio after costs, per period.

    The mean over dates is the negative ratio, and the differences of two portfolios by date have the standard
    error of the difference of their ratios: they are linearised (Jobson and Korkie 1981, with the dependence
    that Ledoit and Wolf 2008 allow for).
    """
    net = held_portfolio(result).net_returns()
    spread = float(net.std(ddof=1)) if len(net) > 1 else 0.0
    if spread <= 0.0:
        return np.zeros(len(result))
    standard = (net - net.mean()) / spread
    ratio = float(net.mean()) / spread
    by_date = -(ratio + standard - ratio / 2 * (standard**2 - (len(net) - 1) / len(net)))
    return np.asarray(by_date[np.unique(result.date, return_inverse=True)[1]])
