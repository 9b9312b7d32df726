"""Which feature rows exist: a pure function of the bars and of when each of them was known.

A symbol's row of an event time is *decided* `decision_delay` after the bar's close, from the bars known
by then. What is learned later never changes a decided row: it adds a row with a later `created_time`.
Because rows depend on nothing but bars, order and batching of arrivals do not matter, and a range of rows
can be computed again at any time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from mltrainer_features import MAX_LOOK_BACK_BARS, bounded_history, compute_features, feature_names

from mltrainer_feature.domain.bar_grid import Floats, Integers, integers
from mltrainer_feature.domain.bars import UTC_TIME, Bars, newest_knowledge

Rows: TypeAlias = pl.DataFrame
"""Rows of `ROW_SCHEMA`, sorted by its first three columns."""

ROW_KEY = ("event_time", "created_time", "symbol")
FEATURE_NAMES = feature_names()
ROW_SCHEMA: dict[str, Any] = {
    "event_time": UTC_TIME,
    "created_time": UTC_TIME,
    "symbol": pl.String,
    **dict.fromkeys(FEATURE_NAMES, pl.Float64),
}


@dataclass(frozen=True, slots=True)
class EventRange:
    """Event times, both ends included."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class RowMatrix:
    """Rows as arrays: times in microseconds since 1970 UTC, and a line of values each, NaN where undefined.

    Undefined values are one and the same NaN, so that equal rows are equal bytes.
    """

    event_times: Integers
    created_times: Integers
    symbols: tuple[str, ...]
    values: Floats

    @classmethod
    def of(cls, rows: Rows) -> "RowMatrix":
        """Lays rows out."""
        values = np.array(rows[list(FEATURE_NAMES)].to_numpy(), dtype=np.float64, order="C")
        event_times, created_times = integers(rows["event_time"]), integers(rows["created_time"])
        return cls.with_one_nan(event_times, created_times, tuple(rows["symbol"].to_list()), values)

    @classmethod
    def with_one_nan(
        cls, event_times: Integers, created_times: Integers, symbols: tuple[str, ...], values: Floats
    ) -> "RowMatrix":
        """Takes the arrays over; writes the same NaN wherever a value is none."""
        values[np.isnan(values)] = np.nan
        return cls(event_times, created_times, symbols, values)

    def __len__(self) -> int:
        """Counts the rows."""
        return len(self.symbols)

    def at(self, places: Integers) -> "RowMatrix":
        """Keeps the rows at some places."""
        symbols = tuple([self.symbols[place] for place in places.tolist()])
        return RowMatrix(self.event_times[places], self.created_times[places], symbols, self.values[places])

    def to_rows(self) -> Rows:
        """Makes a frame of them; undefined values are null."""
        keys = {
            "event_time": self.event_times,
            "created_time": self.created_times,
            "symbol": pl.Series(self.symbols, dtype=pl.String),
        }
        features = pl.from_numpy(self.values, schema=list(FEATURE_NAMES), orient="row").fill_nan(None)
        times = [pl.col("event_time", "created_time").cast(UTC_TIME)]
        return pl.DataFrame(keys).with_columns(times).hstack(features)


def compute_rows(bars: Bars, wanted: EventRange, decision_delay: timedelta) -> Rows:
    """Computes every version of every row in a range; `bars` must reach back far enough for the first."""
    is_late = pl.col("knowledge_time") > pl.col("event_time") + decision_delay
    history = _History(newest_knowledge(bars.filter(~is_late)), bars.filter(is_late), decision_delay)
    decided = [history.decided_rows(segment) for segment in history.segments(wanted)]
    rows = _concat(decided)
    return _concat([rows, *history.restated_rows(rows, wanted)]).sort(ROW_KEY)


def newest_rows(rows: Rows) -> Rows:
    """Keeps the row of each symbol with the latest event time and, there, the latest knowledge."""
    return rows.sort("event_time", "created_time").unique("symbol", keep="last").sort("symbol")


@dataclass(frozen=True, slots=True)
class _Segment:
    """Decided rows that share one state of knowledge about earlier bars."""

    since: datetime
    before: datetime | None
    until: datetime


@dataclass(frozen=True, slots=True)
class _History:
    on_time: Bars
    late: Bars
    decision_delay: timedelta

    def segments(self, wanted: EventRange) -> Iterator[_Segment]:
        """Cuts the range where a late bar starts to be known at decision time."""
        dates = self.on_time.filter(pl.col("event_time").is_between(wanted.since, wanted.until))["event_time"]
        first_dates = (
            self.late.select(event_time=pl.col("knowledge_time") - self.decision_delay)
            .sort("event_time")
            .join_asof(
                pl.DataFrame({"date": dates.unique().sort()}),
                left_on="event_time",
                right_on="date",
                strategy="forward",
            )["date"]
            .drop_nulls()
        )
        starts = sorted({wanted.since, *first_dates.to_list()})
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            yield _Segment(start, end, wanted.until)

    def decided_rows(self, segment: _Segment) -> Rows:
        """Computes the rows of one segment, created when the last bar that entered was known."""
        horizon = segment.since + self.decision_delay
        known = self._known(horizon, segment.until)
        if segment.before is not None:
            known = known.filter(pl.col("event_time") < segment.before)
        created = (
            known.group_by("event_time")
            .agg(created_time=pl.col("knowledge_time").max())
            .sort("event_time")
            # As long as the longest window, so that it does not depend on where the given bars begin.
            .with_columns(
                pl.col("created_time")
                .cast(pl.Int64)
                .rolling_max(MAX_LOOK_BACK_BARS, min_samples=1)
                .cast(UTC_TIME)
            )
        )
        return _compute(known, segment.since).join(created, on="event_time").select(*ROW_SCHEMA)

    def restated_rows(self, decided: Rows, wanted: EventRange) -> Iterator[Rows]:
        """Computes what late bars change: what was learned in one UTC day makes one version."""
        current = decided
        days = self.late.sort("knowledge_time").group_by(
            pl.col("knowledge_time").dt.date(), maintain_order=True
        )
        for _, learned in days:
            span = learned.select(
                first=pl.col("event_time").min(), last_known=pl.col("knowledge_time").max()
            ).row(0, named=True)
            since = max(wanted.since, span["first"])
            until = min(wanted.until, span["last_known"] - self.decision_delay - timedelta(microseconds=1))
            if since > until:
                continue
            known = self._known(span["last_known"], until)
            versions = (
                _compute(known, since)
                .with_columns(created_time=pl.lit(span["last_known"], UTC_TIME))
                .select(*ROW_SCHEMA)
            )
            changed = versions.join(
                current, on=["symbol", "event_time", *FEATURE_NAMES], how="anti", nulls_equal=True
            )
            current = _concat([current.join(changed, on=["symbol", "event_time"], how="anti"), changed])
            yield changed

    def _known(self, horizon: datetime, until: datetime) -> Bars:
        learned = self.late.filter(pl.col("knowledge_time") <= horizon)
        return newest_knowledge(pl.concat([self.on_time, learned])).filter(pl.col("event_time") <= until)


def _compute(known: Bars, since: datetime) -> pl.DataFrame:
    return compute_features(bounded_history(known, since), since_event_time=since)


def _concat(rows: list[Rows]) -> Rows:
    return pl.concat([pl.DataFrame(schema=ROW_SCHEMA), *rows])
