"""Bars as matrices: one column per symbol, rows either its own bars or the dates of the market."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mltrainer_features.windows import Floats, lagged

Integers = NDArray[np.int64]


class Panel:
    """The returns of sorted, valid bars.

    A matrix has the symbol's own bars as rows, so that a window counts bars of that symbol; a market series
    has every event time any symbol traded at. Sums over symbols go column by column, so that a symbol
    without a bar changes no digit.
    """

    def __init__(self, symbols: Integers, dates: Integers, closes: Floats) -> None:
        """Takes places of symbols and dates, counted from 0 without gaps, sorted by symbol, then date."""
        self.symbols, self.dates = symbols, dates
        self._symbol_count = int(symbols.max(initial=-1)) + 1
        self._date_count = int(dates.max(initial=-1)) + 1
        first_of_symbol = np.searchsorted(symbols, np.arange(self._symbol_count))
        self._own: Integers = np.arange(symbols.size) - first_of_symbol[symbols]
        self._shared: dict[str, Floats] = {}
        self.log_close = self.to_matrix(np.log(closes))

    def share(self, name: str, compute: Callable[[], Floats]) -> Floats:
        """Computes once what several features read."""
        if name not in self._shared:
            self._shared[name] = compute()
        return self._shared[name]

    def rows_since(self, first_date: int) -> Integers:
        """Returns the places of the bars from a date on, by date and symbol."""
        wanted = np.flatnonzero(self.dates >= first_date)
        return wanted[np.lexsort((self.symbols[wanted], self.dates[wanted]))]

    def ranks(self, values: Floats, rows: Integers) -> Floats:
        """Places values among those of the same date: (average rank - 1/2) / count; takes whole dates."""
        ranks = np.full(rows.size, np.nan)
        present = np.flatnonzero(~np.isnan(values))
        dates, compared = self.dates[rows[present]], values[present]
        order = np.lexsort((compared, dates))
        dates, compared = dates[order], compared[order]
        first_of_date = np.searchsorted(dates, dates, side="left")
        count = np.searchsorted(dates, dates, side="right") - first_of_date
        starts = np.flatnonzero(np.diff(dates, prepend=-1) | np.diff(compared, prepend=np.nan).astype(bool))
        group = np.searchsorted(starts, np.arange(order.size), side="right") - 1
        ends = np.append(starts[1:], order.size)
        average = (starts[group] + ends[group] + 1) / 2 - first_of_date
        # The reciprocal, not the quotient: rows that are stored already were computed so.
        ranks[present[order]] = (average - 0.5) * (1.0 / count)
        return ranks

    def to_matrix(self, column: Floats) -> Floats:
        """Lays a column of rows out as own bars by symbols."""
        matrix = np.full((int(self._own.max(initial=-1)) + 1, self._symbol_count), np.nan)
        matrix[self._own, self.symbols] = column
        return matrix

    def to_rows(self, matrix: Floats) -> Floats:
        """Reads a matrix back, one value per bar."""
        return matrix[self._own, self.symbols]

    def market_to_rows(self, series: Floats) -> Floats:
        """Gives every bar the market's value at its event time."""
        return series[self.dates]

    def market_mean(self, matrix: Floats) -> Floats:
        """Averages over the symbols present at each event time; NaN where none has a value."""
        by_date = np.full((self._date_count, self._symbol_count), np.nan)
        by_date[self.dates, self.symbols] = self.to_rows(matrix)
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
