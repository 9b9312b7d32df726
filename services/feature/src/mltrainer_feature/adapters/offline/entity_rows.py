"""The rows that features are joined to: a data frame, or Parquet files that need not fit into memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from mltrainer_feature.adapters.offline.columns import UnusableColumnError, to_nanoseconds
from mltrainer_feature.adapters.offline.pulls import Pull
from mltrainer_feature.adapters.offline.requests import ViewRequest
from mltrainer_feature.adapters.offline.sources import Location, batches, bytes_in_memory

TIME_COLUMN = "event_timestamp"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UnusableEntityRowsError(ValueError):
    """The entity rows are not there, or have no time."""


@dataclass(frozen=True, slots=True)
class EntityRows:
    """Rows with join keys and a time each."""

    rows: pa.Table | ds.Dataset
    time_column: str
    row_count: int
    byte_count: int
    earliest: datetime | None
    latest: datetime | None

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self.rows.schema

    def table(self) -> pa.Table:
        """Returns all rows in memory."""
        return self.rows if isinstance(self.rows, pa.Table) else self.rows.to_table()

    def chunks(self, chunk_rows: int) -> Iterator[pa.Table]:
        """Returns the rows in their order, so many at a time."""
        if isinstance(self.rows, pa.Table):
            for start in range(0, self.row_count, chunk_rows):
                yield self.rows.slice(start, chunk_rows)
            return
        waiting: list[pa.Table] = []
        for table in batches(self.rows, self.schema.names, None):
            waiting.append(table)
            while sum(item.num_rows for item in waiting) >= chunk_rows:
                joined = pa.concat_tables(waiting)
                yield joined.slice(0, chunk_rows)
                waiting = [joined.slice(chunk_rows)]
        if any(item.num_rows for item in waiting):
            yield pa.concat_tables(waiting)


def rows_of_table(table: pa.Table) -> EntityRows:
    """Takes rows that are in memory.

    Raises:
        UnusableEntityRowsError: It is not clear which column holds the times.
    """
    name = find_time_column(table.schema)
    return EntityRows(table, name, table.num_rows, table.nbytes, *_span([table], name))


def rows_of_files(location: Location) -> EntityRows:
    """Takes Parquet files, which are read piece by piece."""
    if not location.exists:
        raise UnusableEntityRowsError(
            f"no entity rows at {location.path!r}: give a data frame or the path of Parquet files, no SQL"
        )
    dataset = location.dataset()
    name = find_time_column(dataset.schema)
    span = _span(batches(dataset, [name], None), name)
    size = bytes_in_memory(dataset, dataset.schema.names)
    return EntityRows(dataset, name, dataset.count_rows(), size, *span)


def rows_of_every_entity(requests: Sequence[ViewRequest], since: datetime, until: datetime) -> EntityRows:
    """Makes a row at the end of a range for each entity that has a row in it.

    Raises:
        UnusableColumnError: The views differ in their join keys.
    """
    keyed = [request for request in requests if request.keys]
    names = {tuple(sorted(key.entity_column for key in request.keys)) for request in keyed}
    if len(names) > 1:
        raise UnusableColumnError("without entity rows, all views must have the same join keys")
    found = [_keys_between(request, since, until) for request in keyed]
    keys = pl.concat(found, how="vertical_relaxed").unique(maintain_order=True) if found else pl.DataFrame()
    times = pa.array([until] * (keys.height if keys.width else 1), pa.timestamp("us", tz="UTC"))
    columns = {name: keys[name].to_arrow() for name in keys.columns}
    return rows_of_table(pa.table({**columns, TIME_COLUMN: times}))


def _keys_between(request: ViewRequest, since: datetime, until: datetime) -> pl.DataFrame:
    names = {key.source_column: key.entity_column for key in request.keys}
    columns = tuple(dict.fromkeys([*names, request.event_column]))
    pull = Pull(request.dataset, columns, request.event_column, since, until)
    found = pull.distinct(list(names)).rename(names)
    return found.select(sorted(found.columns))


def find_time_column(schema: pa.Schema) -> str:
    """Returns `event_timestamp`, or the only column of times.

    Raises:
        UnusableEntityRowsError: There are none or several.
    """
    if TIME_COLUMN in schema.names:
        return TIME_COLUMN
    found = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    if len(found) != 1:
        raise UnusableEntityRowsError(
            f"the entity rows need a column {TIME_COLUMN!r}, or one column of times"
        )
    return str(found[0])


def _span(tables: Iterable[pa.Table], name: str) -> tuple[datetime | None, datetime | None]:
    low, high = None, None
    for table in tables:
        times = to_nanoseconds(table[name], name)
        first, last = cast("int | None", times.min()), cast("int | None", times.max())
        if first is None or last is None:
            continue
        low = first if low is None else min(low, first)
        high = last if high is None else max(high, last)
    if low is None or high is None:
        return None, None
    return _EPOCH + timedelta(microseconds=low // 1_000), _EPOCH + timedelta(microseconds=-(-high // 1_000))
