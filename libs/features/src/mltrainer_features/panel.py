"""Bars as matrices: one column per symbol, rows either its own bars or the dates of the market."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mltrainer_features.windows import Floats, lagged

Integers = NDArray[np.int64]


# From here on whole series are cheaper than windows laid side by side.
_MAX_NEWEST_DATES = 32


class Panel:
    """The returns of sorted, valid bars, and which of the bars are to become rows.

    A matrix has the symbol's own bars as rows, so that a window counts bars of that symbol; a market series
    has every event time any symbol traded at. Sums over symbols go column by column, so that a symbol
    without a bar changes no digit. Matrices end at the last bar of every symbol; before its first bar is NaN.

    `last` is how many of the newest rows of matrices and series are needed; None where all of them are.
    """

    def __init__(self, symbols: Integers, dates: Integers, closes: Floats, first_date: int = 0) -> None:
        """Takes places of symbols and dates, counted from 0 without gaps, sorted by symbol, then date."""
        self._symbols, self._dates = symbols, dates
        self._symbol_count = int(symbols.max(initial=-1)) + 1
        self._date_count = int(dates.max(initial=-1)) + 1
        newest = self._date_count - first_date
        self.last = newest if 0 < newest <= _MAX_NEWEST_DATES and first_date else None
        self._own = self._own_places()
        self.rows = self._rows_since(first_date)
        self._shared: dict[str, Floats] = {}
        self.log_close = self.to_matrix(np.log(closes))

    def _own_places(self) -> Integers:
        ends = np.searchsorted(self._symbols, np.arange(self._symbol_count), side="right")
        from_end = ends[self._symbols] - np.arange(self._symbols.size)
        # No shorter than what is read of it: symbols that rarely trade have fewer bars than there are dates.
        self._length = max(int(from_end.max(initial=0)), self.last or 0)
        return self._length - from_end

    def _rows_since(self, first_date: int) -> Integers:
        """Finds the places of the bars from a date on, by date and symbol."""
        wanted = np.flatnonzero(self._dates >= first_date)
        return wanted[np.lexsort((self._symbols[wanted], self._dates[wanted]))]

    def share(self, name: str, compute: Callable[[], Floats]) -> Floats:
        """Computes once what several features read."""
        if name not in self._shared:
            self._shared[name] = compute()
        return self._shared[name]

    def ranks(self, values: Floats) -> Floats:
        """Places values of the rows among those of the same date: (average rank - 1/2) / count."""
        ranks = np.full(values.size, np.nan)
        present = np.flatnonzero(~np.isnan(values))
        dates, compared = self._dates[self.rows[present]], values[present]
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
        """Lays one value per bar out as own bars by symbols."""
        matrix = np.full((self._length, self._symbol_count), np.nan)
        matrix[self._own, self._symbols] = column
        return matrix

    def to_rows(self, matrix: Floats) -> Floats:
        """Reads a matrix, or its newest rows, at the rows that are wanted."""
        left_out = self._length - matrix.shape[0]
        rows: Floats = matrix[self._own[self.rows] - left_out, self._symbols[self.rows]]
        return rows

    def market_to_rows(self, series: Floats) -> Floats:
        """Gives every wanted row the market's value at its event time."""
        left_out = self._date_count - series.shape[0]
        rows: Floats = series[self._dates[self.rows] - left_out]
        return rows

    def market_mean(self, matrix: Floats) -> Floats:
        """Averages over the symbols present at each event time; NaN where none has a value."""
        by_date = np.full((self._date_count, self._symbol_count), np.nan)
        by_date[self._dates, self._symbols] = matrix[self._own, self._symbols]
        present = np.isfinite(by_date)
        count = present.sum(axis=1)
        # Added one after the other from zero on, as a loop over the columns would.
        terms = np.concatenate([np.zeros((self._date_count, 1)), np.where(present, by_date, 0.0)], axis=1)
        total: Floats = np.add.accumulate(terms, axis=1)[:, -1]
        mean = np.full_like(total, np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        return mean

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
        return self.to_matrix(self.market[self._dates])
