"""Bars as matrices: one column per symbol, rows either its own bars or the dates of the market."""

from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mltrainer_features.windows import Floats, lagged

Integers = NDArray[np.int64]


class Panel:
    """The returns of sorted, valid bars.

    A matrix has the symbol's own bars as rows, so that a window counts bars of that symbol; a market series
    has every event time any symbol traded at. Sums over symbols go column by column, so that a symbol
    without a bar changes no digit.
    """

    def __init__(self, bars: pl.DataFrame) -> None:
        coded = bars.sort("symbol", "event_time").select(
            "symbol",
            "event_time",
            "close",
            symbol_code=(pl.col("symbol").rank("dense") - 1).cast(pl.Int64),
            date_code=(pl.col("event_time").rank("dense") - 1).cast(pl.Int64),
            own_code=pl.int_range(pl.len(), dtype=pl.Int64).over("symbol"),
        )
        self.keys = coded.select("symbol", "event_time")
        self._symbol: Integers = coded["symbol_code"].to_numpy()
        self._date: Integers = coded["date_code"].to_numpy()
        self._own: Integers = coded["own_code"].to_numpy()
        self._symbol_count = int(self._symbol.max(initial=-1)) + 1
        self._date_count = int(self._date.max(initial=-1)) + 1
        self.log_close = self.to_matrix(np.log(coded["close"].to_numpy()))

    def to_matrix(self, column: Floats) -> Floats:
        """Lays a column of rows out as own bars by symbols."""
        matrix = np.full((int(self._own.max(initial=-1)) + 1, self._symbol_count), np.nan)
        matrix[self._own, self._symbol] = column
        return matrix

    def to_rows(self, matrix: Floats) -> Floats:
        """Reads a matrix back, one value per bar."""
        return matrix[self._own, self._symbol]

    def market_to_rows(self, series: Floats) -> Floats:
        """Gives every bar the market's value at its event time."""
        return series[self._date]

    def market_mean(self, matrix: Floats) -> Floats:
        """Averages over the symbols present at each event time; NaN where none has a value."""
        by_date = np.full((self._date_count, self._symbol_count), np.nan)
        by_date[self._date, self._symbol] = self.to_rows(matrix)
        total, count = np.zeros(self._date_count), np.zeros(self._date_count)
        for column in by_date.T:
            present = np.isfinite(column)
            total += np.where(present, column, 0.0)
            count += present
        return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)

    @cached_property
    def returns(self) -> Floats:
        """Log returns from one own bar to the next."""
        return self.log_close - lagged(self.log_close, 1)

    @cached_property
    def market(self) -> Floats:
        """Return of the equally weighted market by date."""
        return self.market_mean(self.returns)

    @cached_property
    def market_square(self) -> Floats:
        """Mean squared return over symbols by date."""
        return self.market_mean(self.returns**2)

    @cached_property
    def market_beside_own(self) -> Floats:
        """The market's return at each symbol's own bars."""
        return self.to_matrix(self.market_to_rows(self.market))
