"""The schema of a bar and what makes a bar unusable."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache

import polars as pl

EVENT_TIME = pl.Datetime("us", "UTC")
BAR_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "symbol": pl.String,
    "event_time": EVENT_TIME,
    "close": pl.Float64,
}
OPTIONAL_BAR_COLUMNS = ("open", "high", "low", "volume")


class FeatureError(Exception):
    """The root of every error of this library."""


class BarProblemReason(StrEnum):
    """Why a bar cannot be used."""

    SYMBOL_EMPTY = "SYMBOL_EMPTY"
    EVENT_TIME_MISSING = "EVENT_TIME_MISSING"
    PRICE_NOT_FINITE = "PRICE_NOT_FINITE"
    PRICE_NOT_POSITIVE = "PRICE_NOT_POSITIVE"
    HIGH_BELOW_LOW = "HIGH_BELOW_LOW"
    CLOSE_OUTSIDE_RANGE = "CLOSE_OUTSIDE_RANGE"
    VOLUME_NOT_FINITE = "VOLUME_NOT_FINITE"
    VOLUME_NEGATIVE = "VOLUME_NEGATIVE"
    DUPLICATE = "DUPLICATE"


@dataclass(frozen=True, slots=True)
class BarProblem:
    """One unusable bar, by its row in the frame that was checked."""

    row: int
    symbol: str | None
    event_time: datetime | None
    reason: BarProblemReason
    field: str


class BarSchemaError(FeatureError):
    """The frame lacks a column of a bar, or a column has another type."""

    def __init__(self, column: str, expected: str, found: str | None) -> None:
        self.column = column
        self.expected = expected
        self.found = found
        super().__init__(f"bars need column {column!r} of type {expected}, found {found or 'none'}")


class InvalidBarsError(FeatureError):
    """Some bars are unusable; they must be filtered out before features are computed."""

    def __init__(self, problems: Sequence[BarProblem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(
            f"{len(self.problems)} unusable bars, the first at row {first.row}: {first.field} {first.reason}"
        )


def require_bar_schema(bars: pl.DataFrame) -> None:
    """Checks the columns every bar has.

    Raises:
        BarSchemaError: a column is missing or of another type.
    """
    for column, expected in BAR_SCHEMA.items():
        found = bars.schema.get(column)
        if found != expected:
            raise BarSchemaError(column, str(expected), None if found is None else str(found))


def find_bar_problems(bars: pl.DataFrame) -> list[BarProblem]:
    """Finds every unusable bar, with the first reason that applies to it.

    Raises:
        BarSchemaError: a column is missing or of another type.
    """
    require_bar_schema(bars)
    key = pl.struct("symbol", "event_time")
    repeated = pl.when(key.is_duplicated() & ~key.is_first_distinct())
    problem = pl.coalesce(
        first_problem(frozenset(bars.columns)),
        repeated.then(pl.lit(f"{BarProblemReason.DUPLICATE}:event_time")),
    )
    found = (
        bars.lazy()
        .select("symbol", "event_time", problem=problem)
        .with_row_index("row")
        .filter(pl.col("problem").is_not_null())
        .collect()
    )
    return [
        BarProblem(row, symbol, event_time, BarProblemReason(problem.split(":")[0]), problem.split(":")[1])
        for row, symbol, event_time, problem in found.rows()
    ]


def split_bars(bars: pl.DataFrame) -> tuple[pl.DataFrame, list[BarProblem]]:
    """Separates the usable bars from the problems of the others."""
    problems = find_bar_problems(bars)
    bad_rows = [problem.row for problem in problems]
    usable = _numbered(bars).filter(~pl.col("row").is_in(bad_rows)).drop("row") if bad_rows else bars
    return usable, problems


def require_valid_bars(bars: pl.DataFrame) -> None:
    """Checks that every bar can be used.

    Raises:
        BarSchemaError: a column is missing or of another type.
        InvalidBarsError: a bar is unusable.
    """
    problems = find_bar_problems(bars)
    if problems:
        raise InvalidBarsError(problems)


def _numbered(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


@cache
def first_problem(columns: frozenset[str]) -> pl.Expr:
    """Makes `reason:field` of a bar with these columns, null for a usable one; repetitions aside."""
    checks: list[tuple[pl.Expr, BarProblemReason, str]] = [
        (pl.col("symbol").fill_null("") == "", BarProblemReason.SYMBOL_EMPTY, "symbol"),
        (pl.col("event_time").is_null(), BarProblemReason.EVENT_TIME_MISSING, "event_time"),
        (~pl.col("close").is_finite().fill_null(value=False), BarProblemReason.PRICE_NOT_FINITE, "close"),
        (pl.col("close") <= 0, BarProblemReason.PRICE_NOT_POSITIVE, "close"),
    ]
    for price in ("open", "high", "low"):
        if price in columns:
            checks += [
                (~pl.col(price).is_finite(), BarProblemReason.PRICE_NOT_FINITE, price),
                (pl.col(price) <= 0, BarProblemReason.PRICE_NOT_POSITIVE, price),
            ]
    if {"high", "low"} <= columns:
        outside = (pl.col("close") > pl.col("high")) | (pl.col("close") < pl.col("low"))
        checks += [
            (pl.col("high") < pl.col("low"), BarProblemReason.HIGH_BELOW_LOW, "high"),
            (outside, BarProblemReason.CLOSE_OUTSIDE_RANGE, "close"),
        ]
    if "volume" in columns:
        checks += [
            (~pl.col("volume").is_finite(), BarProblemReason.VOLUME_NOT_FINITE, "volume"),
            (pl.col("volume") < 0, BarProblemReason.VOLUME_NEGATIVE, "volume"),
        ]
    return pl.coalesce(
        [pl.when(failed).then(pl.lit(f"{reason}:{field}")) for failed, reason, field in checks]
    )
