"""Moves rows of the database into data frames and back; blocks, so call it from a thread for many rows."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import polars as pl

from mltrainer_feature.domain.bar_grid import integers
from mltrainer_feature.domain.bars import UTC_TIME, Bars
from mltrainer_feature.domain.rows import FEATURE_NAMES, ROW_SCHEMA, RowMatrix, Rows

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SYMBOL_SEPARATOR = "\n"


def to_microseconds(moment: datetime) -> int:
    """Counts microseconds since 1970 UTC, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(count: int) -> datetime:
    """Returns the moment that many microseconds after 1970 UTC."""
    return _EPOCH + timedelta(microseconds=count)


def read_bars(columns: Sequence[str], records: Sequence[Sequence[Any]], schema: dict[str, Any]) -> Bars:
    """Makes bars from records whose times are microseconds."""
    wanted = {name: schema[name] for name in columns}
    stored = {name: pl.Int64 if kind == UTC_TIME else kind for name, kind in wanted.items()}
    frame = pl.DataFrame([tuple(record) for record in records], schema=stored, orient="row")
    return frame.cast(cast("Any", wanted))


def bar_records(bars: Bars) -> list[dict[str, Any]]:
    """Makes database records from bars."""
    columns = [
        integers(bars[name]).tolist() if kind == UTC_TIME else bars[name].to_list()
        for name, kind in bars.schema.items()
    ]
    return [dict(zip(bars.columns, record, strict=True)) for record in zip(*columns, strict=True)]


def row_blocks(rows: RowMatrix) -> Iterator[dict[str, Any]]:
    """Packs rows, grouped by event time and created time."""
    event, created = rows.event_times, rows.created_times
    is_last = np.append((np.diff(event) != 0) | (np.diff(created) != 0), [True] * (len(rows) > 0))
    start = 0
    for last in np.flatnonzero(is_last).tolist():
        end = last + 1
        yield {
            "event_time": int(event[last]),
            "created_time": int(created[last]),
            "row_count": end - start,
            "symbols": _SYMBOL_SEPARATOR.join(rows.symbols[start:end]),
            "features": rows.values[start:end].tobytes(),
        }
        start = end


def read_blocks(blocks: Sequence[Sequence[Any]], symbols: Sequence[str]) -> Rows:
    """Unpacks the rows of some symbols from `(event_time, created_time, row_count, symbols, features)`."""
    if not blocks:
        return pl.DataFrame(schema=ROW_SCHEMA)
    counts = [block[2] for block in blocks]
    values = np.frombuffer(b"".join(block[4] for block in blocks), dtype=np.float64)
    matrix = values.reshape(-1, len(FEATURE_NAMES))
    names = _SYMBOL_SEPARATOR.join(block[3] for block in blocks).split(_SYMBOL_SEPARATOR)
    keys = {
        "event_time": np.repeat(np.array([block[0] for block in blocks], dtype=np.int64), counts),
        "created_time": np.repeat(np.array([block[1] for block in blocks], dtype=np.int64), counts),
        "symbol": pl.Series(names, dtype=pl.String),
    }
    columns = {name: matrix[:, index] for index, name in enumerate(FEATURE_NAMES)}
    rows = pl.DataFrame({**keys, **columns}).filter(pl.col("symbol").is_in(list(symbols)))
    return rows.with_columns(pl.col(FEATURE_NAMES).fill_nan(None)).cast(cast("Any", ROW_SCHEMA))
