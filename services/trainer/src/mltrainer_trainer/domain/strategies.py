"""Trades what a model predicts: positions, returns, turnover, costs and drawdown."""

from dataclasses import dataclass

import numpy as np

from mltrainer_trainer.domain.training_data import Floats, Integers

# One way, in shares of what is traded: half a spread and a commission of a liquid stock.
COST_OF_TRADING = 0.0005


@dataclass(frozen=True, eq=False, slots=True)
class Strategy:
    """Positions and returns per holding period; `positions` has a column per symbol, absolute sum 1 or 0."""

    positions: Floats
    returns: Floats

    @property
    def turnover(self) -> Floats:
        """Sums what is bought and sold at the start of each period; the first one buys everything."""
        before = np.vstack([np.zeros(self.positions.shape[1]), self.positions[:-1]])
        return np.asarray(np.abs(self.positions - before).sum(axis=1))

    def net_returns(self, cost_of_trading: float = COST_OF_TRADING) -> Floats:
        """Subtracts what trading costs."""
        return np.asarray(self.returns - cost_of_trading * self.turnover)


def trade(
    date: Integers, symbol: Integers, labels: Floats, predictions: Floats, horizon_bars: int
) -> Strategy:
    """Holds each date's predictions less their mean, scaled to one unit, for one horizon.

    Only every `horizon_bars`-th date counts, so that no two holding periods overlap.
    """
    dates, rows = np.unique(date, return_inverse=True)
    columns = np.unique(symbol, return_inverse=True)[1]
    held = rows % horizon_bars == 0
    shape = (-(-len(dates) // horizon_bars), int(columns.max(initial=-1)) + 1)
    place = rows[held] // horizon_bars, columns[held]
    present, forecast, gains = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    present[place], forecast[place], gains[place] = 1.0, predictions[held], labels[held]
    mean = forecast.sum(axis=1, keepdims=True) / np.maximum(present.sum(axis=1, keepdims=True), 1)
    tilt = np.where(present > 0, forecast - mean, 0.0)
    # Equal values leave rounding noise behind, which means nothing.
    tilt[np.abs(tilt) <= 1e-12 * np.abs(forecast)] = 0.0
    gross = np.abs(tilt).sum(axis=1, keepdims=True)
    positions = np.divide(tilt, gross, out=np.zeros(shape), where=gross > 0)
    return Strategy(positions, np.asarray((positions * gains).sum(axis=1)))


def maximum_drawdown(returns: Floats) -> float:
    """Gives the largest fall of the sum of log returns from its peak, as a positive number."""
    wealth = np.concatenate([[0.0], np.cumsum(returns)])
    return float((np.maximum.accumulate(wealth) - wealth).max())
