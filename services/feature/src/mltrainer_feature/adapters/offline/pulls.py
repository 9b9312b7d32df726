"""Reads the rows of one source: all of them, the newest of each key, or the keys alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from mltrainer_feature.adapters.offline.columns import read_history, to_nanoseconds
from mltrainer_feature.adapters.offline.sources import batches, time_filter
from mltrainer_feature.domain.point_in_time import Rule, newest_of_each_key

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS_BEFORE_THINNING = 1_000_000


@dataclass(frozen=True, slots=True)
class Pull:
    """Rows of a source between two event times, both included; times without zone are UTC."""

    dataset: ds.Dataset
    columns: tuple[str, ...]
    event_column: str
    since: datetime | None
    until: datetime | None

    def tables(self) -> Iterator[pa.Table]:
        """Returns the rows in their order, some at a time."""
        condition = time_filter(self.dataset.schema, self.event_column, self.since, self.until)
        schema = pa.schema([self.dataset.schema.field(name) for name in self.columns])
        yield schema.empty_table()
        for table in batches(self.dataset, self.columns, condition):
            yield self._exactly(table)

    def in_order(self, created_column: str | None) -> pa.Table:
        """Returns the rows by event time and created time: who writes one by one ends with the newest."""
        rows = pa.concat_tables(self.tables())
        history = read_history(rows, [], self.event_column, created_column)
        order = history.select(pl.arg_sort_by(history.columns, maintain_order=True)).to_series()
        return rows.take(order.to_arrow())

    def newest(self, keys: Sequence[str], created_column: str | None) -> pa.Table:
        """Returns the newest row of each key, whenever it became known; holds one row a key and some more."""
        kept: list[pa.Table] = []
        waiting = 0
        for table in self.tables():
            kept.append(table)
            waiting += table.num_rows
            if waiting > _ROWS_BEFORE_THINNING:
                kept, waiting = [self._thinned(kept, keys, created_column)], 0
        return self._thinned(kept, keys, created_column)

    def distinct(self, keys: Sequence[str]) -> pl.DataFrame:
        """Returns every key that occurs, once."""
        found = pl.DataFrame()
        for table in self.tables():
            seen = pl.DataFrame([pl.Series(key, table[key]) for key in keys])
            found = pl.concat([found, seen.drop_nulls()] if found.width else [seen]).unique(
                maintain_order=True
            )
        return found

    def _thinned(self, tables: list[pa.Table], keys: Sequence[str], created_column: str | None) -> pa.Table:
        rows = pa.concat_tables(tables)
        history = read_history(rows, [(key, key) for key in keys], self.event_column, created_column)
        places = newest_of_each_key(history, Rule(is_created_time_honoured=False))
        return rows.take(places.to_arrow())

    def _exactly(self, table: pa.Table) -> pa.Table:
        times = to_nanoseconds(table[self.event_column], self.event_column)
        mask = pl.Series([True], dtype=pl.Boolean).new_from_index(0, len(times))
        if self.since is not None:
            mask &= times >= _nanoseconds(self.since)
        if self.until is not None:
            mask &= times <= _nanoseconds(self.until)
        return table if mask.all() else table.filter(mask.fill_null(value=False).to_arrow())


def _nanoseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1_000
