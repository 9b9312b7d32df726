"""The newest bars of the market in memory: enough to compute the rows that the next bars decide.

Loading 253 dates of bars for every batch costs more than computing from them. A window holds what was
loaded or computed last, and is good for one revision of the row log: whoever writes rows moves that revision,
so a window that missed a write is noticed in the transaction and loaded again. What a window cannot decide
(restatements, late bars, symbols it does not know) takes the way through the stored bars.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from mltrainer_features import MAX_LOOK_BACK_BARS, compute_latest

from mltrainer_feature.domain.bar_grid import Arrivals, BarGrid, Integers, count_of, moment_of
from mltrainer_feature.domain.bars import Bars, newest_knowledge
from mltrainer_feature.domain.rows import EventRange, RowMatrix

# Covers the longest window in trading days with weekends and holidays between them; a symbol that has not
# traded for so long is looked up again before its next bar.
RECENT = timedelta(days=2 * MAX_LOOK_BACK_BARS)
_MAX_DATES = 4 * MAX_LOOK_BACK_BARS
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class LiveRows:
    """Rows that bars decided: all of a range, and the newest of each symbol."""

    wanted: EventRange
    rows: RowMatrix
    newest: RowMatrix


@dataclass(frozen=True, slots=True)
class LiveWindow:
    """Bars that reach back far enough for every row from `ready_since`, in microseconds, on.

    `followed` are the symbols whose next bar may be computed here. The others left the market, to which their
    last bars still belong.
    """

    log_revision: int
    decision_delay: timedelta
    ready_since: int
    followed: frozenset[str]
    grid: BarGrid

    @classmethod
    def load(
        cls, bars: Bars, since: datetime, decision_delay: timedelta, log_revision: int
    ) -> "LiveWindow | None":
        """Holds stored bars that reach back far enough for `since`; None where there are none."""
        if bars.is_empty():
            return None
        ready_since = count_of(since)
        late = bars.filter(pl.col("knowledge_time") > pl.col("event_time") + decision_delay)
        if not late.is_empty():
            # From here on every decision knows of what came late, so that one state of knowledge decides.
            latest: datetime = late["knowledge_time"].max()  # type: ignore[assignment]  # a time column's maximum
            ready_since = max(ready_since, count_of(latest - decision_delay))
        newest = newest_knowledge(bars)
        followed = frozenset(newest.filter(pl.col("event_time") >= since - RECENT)["symbol"].to_list())
        return cls(log_revision, decision_delay, ready_since, followed, BarGrid.of(newest))

    def extended(self, bars: Bars) -> "tuple[LiveWindow, LiveRows] | None":
        """Takes usable bars in and computes what they decide; None where the stored bars have to be asked.

        The revision of the result is the next one: rows are written exactly once with it.
        """
        arrivals = Arrivals.of(bars)
        if not self._can_take(arrivals):
            return None
        grid = self.grid.with_bars(arrivals)
        first = int(np.searchsorted(grid.times, arrivals.times.min()))
        if grid.times.size - first > MAX_LOOK_BACK_BARS:
            return None
        window = replace(self, grid=grid, log_revision=self.log_revision + 1)
        return _trimmed(window), _rows(grid, first)

    def _can_take(self, bars: Arrivals) -> bool:
        if not self.followed.issuperset(bars.symbols):
            return False
        if (bars.known - bars.times).max() > self.decision_delay // _MICROSECOND:
            return False
        return bool(bars.times.min() >= self.ready_since) and not self.grid.holds_any_of(bars)


def _rows(grid: BarGrid, first: int) -> LiveRows:
    start = grid.look_back(first)
    part = grid.part(start)
    dates, symbols, values = compute_latest(part.closes, first - start)
    created = _rolling_maximum(part.known.max(axis=1), first - start)
    names = tuple([part.symbols[place] for place in symbols.tolist()])
    created_times = created[dates - (first - start)]
    rows = RowMatrix.with_one_nan(part.times[dates], created_times, names, values)
    # The last place of each symbol: rows are in the order of dates.
    newest = symbols.size - 1 - np.unique(symbols[::-1], return_index=True)[1]
    wanted = EventRange(moment_of(grid.times[first]), moment_of(grid.times[-1]))
    return LiveRows(wanted, rows, rows.at(newest))


def _rolling_maximum(values: Integers, first: int) -> Integers:
    """Takes the maximum of the longest window of dates that ends at each date from `first` on."""
    windows = [values[max(0, date - MAX_LOOK_BACK_BARS + 1) : date + 1] for date in range(first, values.size)]
    return np.array([window.max() for window in windows], dtype=np.int64)


def _trimmed(window: LiveWindow) -> LiveWindow:
    grid = window.grid
    if grid.times.size <= _MAX_DATES:
        return window
    ready = grid.times.size - MAX_LOOK_BACK_BARS
    # Whoever has not traded within two windows belongs to no window of a row from there on.
    trading = frozenset(grid.part(ready - MAX_LOOK_BACK_BARS).symbols)
    grid = grid.of_symbols(trading)
    return replace(
        window,
        ready_since=int(grid.times[ready]),
        followed=window.followed & trading,
        grid=grid.part(grid.look_back(ready)),
    )
