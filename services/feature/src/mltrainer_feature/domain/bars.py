"""Which bars are accepted, and why the others are not."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeAlias

import polars as pl
from mltrainer_features import first_problem

Bars: TypeAlias = pl.DataFrame
"""Rows of `BAR_SCHEMA`: a symbol has several bars of one event time when it was restated."""

UTC_TIME = pl.Datetime("us", "UTC")
BAR_SCHEMA: dict[str, Any] = {
    "symbol": pl.String,
    "event_time": UTC_TIME,
    "knowledge_time": UTC_TIME,
    "close": pl.Float64,
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "volume": pl.Float64,
    "adjusted": pl.Boolean,
}
BAR_KEY = ("symbol", "event_time", "knowledge_time")
SYMBOL_PATTERN = r"^[A-Za-z0-9.\-_^=]{1,32}$"
_SYMBOL = re.compile(SYMBOL_PATTERN)
_FEW = 1_000


class RefusalReason(StrEnum):
    """Reasons beyond those of `mltrainer_features.BarProblemReason`."""

    SYMBOL_MALFORMED = "SYMBOL_MALFORMED"
    KNOWLEDGE_TIME_MISSING = "KNOWLEDGE_TIME_MISSING"
    KNOWN_BEFORE_CLOSE = "KNOWN_BEFORE_CLOSE"
    FROM_THE_FUTURE = "FROM_THE_FUTURE"
    CONFLICTS_WITH_KNOWN_BAR = "CONFLICTS_WITH_KNOWN_BAR"
    ADJUSTMENT_MIXED = "ADJUSTMENT_MIXED"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One bar that is kept out, with the first reason that applies."""

    symbol: str | None
    event_time: datetime | None
    knowledge_time: datetime | None
    close: float | None
    reason: str
    field: str
    open: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    adjusted: bool = False

    def sentence(self) -> str:
        """Says which bar was refused and why."""
        moment = self.event_time.isoformat() if self.event_time else "an unknown time"
        return f"{self.symbol or 'a bar without symbol'} at {moment}: {self.field} {self.reason}"


@dataclass(frozen=True, slots=True)
class KeptRefusal:
    """A refused bar as it is kept: by number, with its source and when it was refused."""

    number: int
    source: str
    create_time: datetime
    refusal: Refusal


def is_symbol(text: str) -> bool:
    """Tells whether a text can name a symbol."""
    return _SYMBOL.fullmatch(text) is not None


def split_new_bars(bars: Bars, latest_time: datetime) -> tuple[Bars, list[Refusal]]:
    """Separates the bars that can be used from the refused ones; exact repetitions are dropped.

    `latest_time` bounds how far ahead of the market clock a bar may claim to be known.
    """
    distinct = bars if _has_distinct_keys(bars) else bars.unique(maintain_order=True)
    problems = distinct.select(problem=_problem())["problem"]
    known = distinct["knowledge_time"]
    if (latest_known := known.max()) is not None and latest_known > latest_time:  # type: ignore[operator]  # a time
        ahead = f"{RefusalReason.FROM_THE_FUTURE}:knowledge_time"
        found = pl.when(problems.is_null() & (known > latest_time)).then(pl.lit(ahead)).otherwise(problems)
        problems = pl.select(found).to_series()
    if problems.null_count() == problems.len():
        return distinct, []
    parts = problems.str.split_exact(":", 1).struct
    refused = distinct.with_columns(reason=parts.field("field_0"), field=parts.field("field_1"))
    return distinct.filter(problems.is_null()), to_refusals(refused.filter(problems.is_not_null()))


def split_known_bars(bars: Bars, known: Bars) -> tuple[Bars, list[Refusal]]:
    """Leaves out bars that are already stored; one that contradicts a stored bar of its key is refused."""
    fresh = bars.join(known, on=BAR_KEY, how="anti")
    repeated = fresh.filter(~pl.struct(BAR_KEY).is_first_distinct())
    fresh = fresh.filter(pl.struct(BAR_KEY).is_first_distinct())
    stored = bars.join(known, on=BAR_KEY, how="semi").join(
        known, on=list(BAR_SCHEMA), how="anti", nulls_equal=True
    )
    conflicts = pl.concat([stored, repeated]).with_columns(
        reason=pl.lit(RefusalReason.CONFLICTS_WITH_KNOWN_BAR.value), field=pl.lit("close")
    )
    return fresh, to_refusals(conflicts)


def split_mixed_bars(bars: Bars, bases: Mapping[str, bool]) -> tuple[Bars, list[Refusal]]:
    """Refuses bars that are adjusted where their symbol is not, or the reverse.

    `bases` tells of every symbol whether its prices are adjusted.
    """
    pairs = zip(bars["symbol"].to_list(), bars["adjusted"].to_list(), strict=True)
    is_same = [bases[symbol] is adjusted for symbol, adjusted in pairs]
    if all(is_same):
        return bars, []
    same = pl.Series(is_same, dtype=pl.Boolean)
    mixed = bars.filter(~same).with_columns(
        reason=pl.lit(RefusalReason.ADJUSTMENT_MIXED.value), field=pl.lit("adjusted")
    )
    return bars.filter(same), to_refusals(mixed)


def first_bases(bars: Bars) -> dict[str, bool]:
    """Tells of each symbol whether its first bar is adjusted."""
    first = bars.sort("event_time", "knowledge_time", "adjusted", descending=[False, False, True])
    return dict(first.unique("symbol", keep="first", maintain_order=True).select("symbol", "adjusted").rows())


def to_refusals(refused: pl.DataFrame) -> list[Refusal]:
    """Reads refused rows, which carry `reason` and `field`."""
    columns = [field.name for field in fields(Refusal)]
    return [Refusal(*row) for row in refused.select(columns).iter_rows()]


def to_bars(refusals: Sequence[Refusal]) -> Bars:
    """Makes refused bars what they were."""
    records = [{name: getattr(refusal, name) for name in BAR_SCHEMA} for refusal in refusals]
    return pl.DataFrame(records, schema=BAR_SCHEMA, orient="row")


def newest_knowledge(bars: Bars) -> Bars:
    """Keeps the bar of each symbol and event time that was known last."""
    return bars.sort("knowledge_time").unique(["symbol", "event_time"], keep="last")


def _has_distinct_keys(bars: Bars) -> bool:
    # Bars that differ in their keys differ: for few of them that is found out sooner than by all columns.
    if bars.height > _FEW:
        return not bars.is_duplicated().any()
    return len(set(zip(*(bars[name].to_list() for name in BAR_KEY), strict=True))) == bars.height


@cache
def _problem() -> pl.Expr:
    knowledge = pl.col("knowledge_time")
    checks = [
        (~pl.col("symbol").str.contains(SYMBOL_PATTERN), RefusalReason.SYMBOL_MALFORMED, "symbol"),
        (knowledge.is_null(), RefusalReason.KNOWLEDGE_TIME_MISSING, "knowledge_time"),
        (knowledge < pl.col("event_time"), RefusalReason.KNOWN_BEFORE_CLOSE, "knowledge_time"),
    ]
    # A restated bar repeats the event time of the one it corrects: repetitions are no problem here.
    own = [pl.when(failed).then(pl.lit(f"{reason}:{field}")) for failed, reason, field in checks]
    return pl.coalesce(first_problem(frozenset(BAR_SCHEMA)), *own)
