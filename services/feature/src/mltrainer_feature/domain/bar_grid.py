"""The newest known bars as a matrix: dates by symbols."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from mltrainer_features import MAX_LOOK_BACK_BARS
from numpy.typing import NDArray

from mltrainer_feature.domain.bars import Bars

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ABSENT = np.iinfo(np.int64).min
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class BarGrid:
    """Closes and knowledge times in microseconds; NaN and `ABSENT` where a symbol has no bar."""

    symbols: tuple[str, ...]
    times: Integers
    closes: Floats
    known: Integers

    @classmethod
    def of(cls, bars: Bars) -> "BarGrid":
        """Lays bars out, of which each symbol has one at a time."""
        symbols = tuple(sorted(bars["symbol"].unique().to_list()))
        return _empty(symbols, np.unique(integers(bars["event_time"]))).filled(bars)

    def with_bars(self, bars: Bars) -> "BarGrid":
        """Copies the grid and takes bars of its symbols in."""
        grid = _empty(self.symbols, np.union1d(self.times, integers(bars["event_time"])))
        dates = np.searchsorted(grid.times, self.times)
        grid.closes[dates], grid.known[dates] = self.closes, self.known
        return grid.filled(bars)

    def filled(self, bars: Bars) -> "BarGrid":
        """Writes bars into this grid."""
        dates, symbols = np.searchsorted(self.times, integers(bars["event_time"])), self.places(bars)
        self.closes[dates, symbols] = bars["close"].to_numpy()
        self.known[dates, symbols] = integers(bars["knowledge_time"])
        return self

    def places(self, bars: Bars) -> Integers:
        """Returns the columns of bars."""
        places = {symbol: place for place, symbol in enumerate(self.symbols)}
        return np.array([places[symbol] for symbol in bars["symbol"].to_list()], dtype=np.int64)

    def holds_any_of(self, bars: Bars) -> bool:
        """Tells whether a bar of the same symbol and time is here, or twice among the given ones."""
        times, symbols = integers(bars["event_time"]), self.places(bars)
        dates = np.minimum(np.searchsorted(self.times, times), self.times.size - 1)
        is_stored = (self.times[dates] == times) & (self.known[dates, symbols] != ABSENT)
        distinct = np.unique(np.stack([times, symbols]), axis=1).shape[1]
        return bool(is_stored.any()) or distinct < times.size

    def look_back(self, first: int) -> int:
        """Finds the date from which every symbol has the longest window before a date, or all its bars."""
        is_traded = self.known[:first] != ABSENT
        if not is_traded.size:
            return 0
        ahead = np.cumsum(is_traded[::-1], axis=0)[::-1]
        enough = (ahead >= np.minimum(ahead[0], MAX_LOOK_BACK_BARS)).all(axis=1)
        # True up to that date, false behind it; the market's windows count dates.
        return max(0, min(int(enough.sum()) - 1, first - MAX_LOOK_BACK_BARS))

    def of_symbols(self, symbols: Collection[str]) -> "BarGrid":
        """Keeps some of the symbols, and every date."""
        kept = [place for place, symbol in enumerate(self.symbols) if symbol in symbols]
        names = tuple(self.symbols[place] for place in kept)
        return BarGrid(names, self.times, self.closes[:, kept], self.known[:, kept])

    def part(self, start: int) -> "BarGrid":
        """Keeps the dates from a place on, and the symbols that traded then."""
        traded = (self.known[start:] != ABSENT).any(axis=0)
        symbols = tuple(np.array(self.symbols, dtype=object)[traded])
        return BarGrid(
            symbols, self.times[start:].copy(), self.closes[start:, traded], self.known[start:, traded]
        )


def _empty(symbols: tuple[str, ...], times: Integers) -> BarGrid:
    shape = (times.size, len(symbols))
    return BarGrid(symbols, times, np.full(shape, np.nan), np.full(shape, ABSENT, dtype=np.int64))


def integers(times: pl.Series) -> Integers:
    """Returns times as microseconds."""
    counts: Integers = times.to_numpy().view(np.int64)
    return counts


def count_of(moment: datetime) -> int:
    """Counts microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(count: int) -> datetime:
    """Returns the moment that many microseconds after 1970 UTC."""
    return _EPOCH + int(count) * _MICROSECOND
