"""The join for rows that do not fit into memory.

Three passes, of which each holds a part at a time: source and entity rows are put aside by a hash of their
join keys; the parts are joined, and what is found is put aside by the place of its entity row; the result is
assembled in the order of the entity rows. A part that is still too large, because few keys have most rows, is
joined in slices of time: of what was known before a slice only the newest row of each key still matters.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from mltrainer_feature.adapters.offline.columns import to_nanoseconds
from mltrainer_feature.adapters.offline.entity_rows import EntityRows
from mltrainer_feature.adapters.offline.matching import (
    find_features,
    keyed_alike,
    newest_rows,
    read_known,
)
from mltrainer_feature.adapters.offline.requests import ViewRequest
from mltrainer_feature.adapters.offline.sources import BATCH_ROWS, batches
from mltrainer_feature.adapters.offline.spill import SpilledRows
from mltrainer_feature.domain.point_in_time import CREATED, EVENT, TIME, join_keys

_PLACE = "__place"
# Each open partition costs a file handle and a buffer; slices of time do the rest.
_MOST_PARTITIONS = 128
_SAMPLED = 64


@dataclass(frozen=True, slots=True)
class Partitioning:
    """Into how many parts the join of a view is cut, and how many rows of both sides are held at a time."""

    request: ViewRequest
    partitions: int
    rows_at_once: int


def join_by_partition(
    entities: EntityRows, views: Sequence[Partitioning], directory: Path, chunk_rows: int = BATCH_ROWS
) -> Iterator[pa.Table]:
    """Returns the entity rows with their features, in their order, some at a time."""
    found = [
        _ViewJoin(entities, view.request, view, directory / str(number), chunk_rows).run()
        for number, view in enumerate(views)
    ]
    for number, chunk in enumerate(entities.chunks(chunk_rows)):
        joined = chunk
        for features in found:
            table = pa.concat_tables(features.tables(number))
            features.delete(number)
            ordered = table.take(pa.array(np.argsort(table[_PLACE].to_numpy())))
            for name in ordered.column_names[1:]:
                joined = joined.append_column(name, ordered[name])
        yield joined


@dataclass(frozen=True, slots=True)
class _ViewJoin:
    """The first two passes, for one feature view."""

    entities: EntityRows
    request: ViewRequest
    partitioning: Partitioning
    directory: Path
    chunk_rows: int

    def run(self) -> SpilledRows:
        """Returns what was found, by chunk of the entity rows."""
        self.directory.mkdir()
        history, moments = self._put_history_aside(), self._put_entities_aside()
        found = SpilledRows(self.directory / "found")
        for partition in sorted(moments.row_counts):
            for entity_rows, known in self._parts(history, moments, partition):
                columns = find_features(entity_rows, self.entities.time_column, self.request, known)
                places = entity_rows[_PLACE]
                found.add(pa.table({_PLACE: places, **columns}), places.to_numpy() // self.chunk_rows)
            history.delete(partition)
            moments.delete(partition)
        found.finish()
        return found

    def _put_history_aside(self) -> SpilledRows:
        spilled = SpilledRows(self.directory / "history")
        condition = self.request.condition(self.entities.earliest, self.entities.latest)
        for table in batches(self.request.dataset, self.request.columns, condition):
            _, history = keyed_alike(self._no_entities(), self.entities.time_column, self.request, table)
            spilled.add(table, self._hash(history))
        spilled.finish()
        return spilled

    def _put_entities_aside(self) -> SpilledRows:
        spilled = SpilledRows(self.directory / "entities")
        names = [key.entity_column for key in self.request.keys]
        nothing = self.request.dataset.schema.empty_table()
        start = 0
        for chunk in self.entities.chunks(self.chunk_rows):
            moments, _ = keyed_alike(chunk, self.entities.time_column, self.request, nothing)
            places = pa.array(np.arange(start, start + chunk.num_rows))
            columns = list(dict.fromkeys([*names, self.entities.time_column]))
            spilled.add(chunk.select(columns).append_column(_PLACE, places), self._hash(moments))
            start += chunk.num_rows
        spilled.finish()
        return spilled

    def _no_entities(self) -> pa.Table:
        return self.entities.schema.empty_table()

    def _hash(self, frame: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
        keys = join_keys(frame)
        if not keys:
            return np.zeros(frame.height, dtype=np.int64)
        partitions = min(self.partitioning.partitions, _MOST_PARTITIONS)
        return (frame.select(keys).hash_rows() % partitions).cast(pl.Int64).to_numpy()

    def _parts(
        self, history: SpilledRows, moments: SpilledRows, partition: int
    ) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Returns entity rows with every source row that may matter to them, as much as fits at a time."""
        bounds = self._bounds(history, moments, partition)
        schema = self.request.dataset.schema
        carried = pa.schema([schema.field(name) for name in self.request.columns]).empty_table()
        for since, until in pairwise([None, *bounds, None]):
            entity_rows = _between(moments.tables(partition), self._times, since, until)
            known = _between(history.tables(partition), self._known_times, since, until)
            known = pa.concat_tables([carried, *known])
            if entity_rows:
                yield pa.concat_tables(entity_rows), known
            if until is not None:
                carried = newest_rows(self.request, known)

    def _bounds(self, history: SpilledRows, moments: SpilledRows, partition: int) -> list[int]:
        """Cuts time so that each slice has about as many rows."""
        rows = history.row_counts.get(partition, 0) + moments.row_counts[partition]
        slices = 1 + rows // self.partitioning.rows_at_once
        if slices == 1:
            return []
        samples = [self._known_times(table).gather_every(_SAMPLED) for table in history.tables(partition)]
        samples += [self._times(table).gather_every(_SAMPLED) for table in moments.tables(partition)]
        ordered = pl.concat(samples).drop_nulls().sort()
        if ordered.is_empty():
            return []
        return sorted({int(ordered[len(ordered) * part // slices]) for part in range(1, slices)})

    def _times(self, table: pa.Table) -> pl.Series:
        return to_nanoseconds(table[self.entities.time_column], TIME)

    def _known_times(self, table: pa.Table) -> pl.Series:
        known = read_known(self.request, table)
        if CREATED not in known.columns or not self.request.is_created_time_honoured:
            return known[EVENT].alias(TIME)
        is_complete = pl.col(EVENT).is_not_null() & pl.col(CREATED).is_not_null()
        return known.select(pl.when(is_complete).then(pl.max_horizontal(EVENT, CREATED)).alias(TIME))[TIME]


def _between(
    tables: Iterator[pa.Table],
    times_of: Callable[[pa.Table], pl.Series],
    since: int | None,
    until: int | None,
) -> list[pa.Table]:
    """Keeps the rows after one time and until another; rows without time belong to the beginning."""
    if since is None and until is None:
        return list(tables)
    kept = []
    for table in tables:
        times = times_of(table).to_frame()
        after = pl.lit(value=True) if since is None else pl.col(TIME) > since
        before = pl.lit(value=True) if until is None else pl.col(TIME) <= until
        mask = times.select((after & before).fill_null(since is None)).to_series()
        if mask.any():
            kept.append(table.filter(mask.to_arrow()))
    return kept
