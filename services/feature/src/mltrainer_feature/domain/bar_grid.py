"""The newest known bars as a matrix: dates by symbols."""

from collections.abc import Collection, Mapping
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
class Arrivals:
    """Bars as arrays; times are microseconds since 1970 UTC."""

    symbols: tuple[str, ...]
    times: Integers
    known: Integers
    closes: Floats

    @classmethod
    def of(cls, bars: Bars) -> "Arrivals":
        """Lays bars out."""
        times, known = integers(bars["event_time"]), integers(bars["knowledge_time"])
        return cls(tuple(bars["symbol"].to_list()), times, known, bars["close"].to_numpy())


@dataclass(frozen=True, slots=True)
class BarGrid:
    """Closes and knowledge times in microseconds; NaN and `ABSENT` where a symbol has no bar."""

    symbols: tuple[str, ...]
    times: Integers
    closes: Floats
    known: Integers
    _places: Mapping[str, int]

    @classmethod
    def of(cls, bars: Bars) -> "BarGrid":
        """Lays bars out, of which each symbol has one at a time."""
        given = Arrivals.of(bars)
        return _empty(tuple(sorted(set(given.symbols))), np.unique(given.times)).filled(given)

    def with_bars(self, bars: Arrivals) -> "BarGrid":
        """Copies the grid and takes bars of its symbols in."""
        times = np.union1d(self.times, bars.times)
        if times.size == self.times.size:
            grid = BarGrid(self.symbols, times, self.closes.copy(), self.known.copy(), self._places)
            return grid.filled(bars)
        grid = _empty(self.symbols, times, self._places)
        dates = np.searchsorted(grid.times, self.times)
        grid.closes[dates], grid.known[dates] = self.closes, self.known
        return grid.filled(bars)

    def filled(self, bars: Arrivals) -> "BarGrid":
        """Writes bars into this grid."""
        dates, symbols = np.searchsorted(self.times, bars.times), self.places(bars)
        self.closes[dates, symbols] = bars.closes
        self.known[dates, symbols] = bars.known
        return self

    def places(self, bars: Arrivals) -> Integers:
        """Returns the columns of bars."""
        return np.array([self._places[symbol] for symbol in bars.symbols], dtype=np.int64)

    def holds_any_of(self, bars: Arrivals) -> bool:
        """Tells whether a bar of the same symbol and time is here, or twice among the given ones."""
        times, symbols = bars.times, self.places(bars)
        dates = np.minimum(np.searchsorted(self.times, times), self.times.size - 1)
        is_stored = (self.times[dates] == times) & (self.known[dates, symbols] != ABSENT)
        distinct = len(set(zip(times.tolist(), bars.symbols, strict=True)))
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
        return _grid(names, self.times, self.closes[:, kept], self.known[:, kept])

    def part(self, start: int) -> "BarGrid":
        """Keeps the dates from a place on, and the symbols that traded then."""
        traded = (self.known[start:] != ABSENT).any(axis=0)
        times, closes, known = self.times[start:].copy(), self.closes[start:], self.known[start:]
        if traded.all():
            return BarGrid(self.symbols, times, closes.copy(), known.copy(), self._places)
        symbols = tuple(np.array(self.symbols, dtype=object)[traded])
        return _grid(symbols, times, closes[:, traded], known[:, traded])


def _grid(symbols: tuple[str, ...], times: Integers, closes: Floats, known: Integers) -> BarGrid:
    return BarGrid(symbols, times, closes, known, {symbol: place for place, symbol in enumerate(symbols)})


def _empty(symbols: tuple[str, ...], times: Integers, places: Mapping[str, int] | None = None) -> BarGrid:
    shape = (times.size, len(symbols))
    closes, known = np.full(shape, np.nan), np.full(shape, ABSENT, dtype=np.int64)
    if places is None:
        return _grid(symbols, times, closes, known)
    return BarGrid(symbols, times, closes, known, places)


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
