"""Arrow columns as the join wants them: whole nanoseconds for times, equal types for keys."""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from mltrainer_feature.domain.point_in_time import CREATED, EVENT, TIME, History, Moments

_LATEST_NS = 2**63 - 1
_NS_PER_UNIT = {"ns": 1, "us": 1_000, "ms": 1_000_000}


class UnusableColumnError(ValueError):
    """A column is missing or has a type that cannot be joined."""


def to_nanoseconds(column: pa.ChunkedArray, name: str) -> pl.Series:
    """Reads times; those without zone are UTC, those beyond what 64 bits can count become the last one.

    Raises:
        UnusableColumnError: The column holds no times.
    """
    times = pl.Series(name, column)
    if times.dtype == pl.Date:
        times = times.cast(pl.Datetime("ms"))
    if times.dtype == pl.Null:
        return times.cast(pl.Int64)
    if not isinstance(times.dtype, pl.Datetime):
        raise UnusableColumnError(f"column {name!r} holds {times.dtype}, not times")
    counts = times.to_physical()
    factor = _NS_PER_UNIT[times.dtype.time_unit]
    if factor == 1:
        return counts
    limit = _LATEST_NS // factor
    return counts.clip(-limit, limit) * factor


def read_history(
    table: pa.Table, keys: Sequence[tuple[str, str]], event_column: str, created_column: str | None
) -> History:
    """Makes a history from a source's rows; `keys` are pairs of join key and source column."""
    columns = [pl.Series(key, table[column]) for key, column in keys]
    columns.append(to_nanoseconds(table[event_column], event_column).alias(EVENT))
    if created_column is not None:
        columns.append(to_nanoseconds(table[created_column], created_column).alias(CREATED))
    return _with_plain_keys(pl.DataFrame(columns))


def read_moments(table: pa.Table, keys: Sequence[str], time_column: str) -> Moments:
    """Makes moments from entity rows."""
    times = to_nanoseconds(table[time_column], time_column).alias(TIME)
    return _with_plain_keys(pl.DataFrame([*(pl.Series(key, table[key]) for key in keys), times]))


def with_equal_key_types(moments: Moments, history: History, keys: Sequence[str]) -> tuple[Moments, History]:
    """Casts the join keys of both sides to one type each.

    Raises:
        UnusableColumnError: A key is text on one side and something else on the other.
    """
    for key in keys:
        left, right = moments.schema[key], history.schema[key]
        if left == right:
            continue
        if pl.Null not in (left, right) and (left == pl.String) != (right == pl.String):
            raise UnusableColumnError(
                f"join key {key!r} is {left} in the entity rows and {right} in the source"
            )
        common = pl.concat([moments.select(key).head(0), history.select(key).head(0)], how="vertical_relaxed")
        wanted = pl.col(key).cast(common.schema[key])
        moments, history = moments.with_columns(wanted), history.with_columns(wanted)
    return moments, history


def _with_plain_keys(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.selectors.by_dtype(pl.Categorical).cast(pl.String))
