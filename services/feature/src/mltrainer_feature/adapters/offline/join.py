"""Joins features to entity rows, in memory or by partition."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mltrainer_feature.adapters.offline.entity_rows import EntityRows
from mltrainer_feature.adapters.offline.matching import find_features
from mltrainer_feature.adapters.offline.partitions import Partitioning, join_by_partition
from mltrainer_feature.adapters.offline.requests import ViewRequest
from mltrainer_feature.adapters.offline.sources import bytes_in_memory

# Sorting, ranking and searching keep some dozen integers of each row beside the row itself.
_WORKING_BYTES_PER_ROW = 200
_COPIES = 2
_FEWEST_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Workspace:
    """How much memory a join may take, and where it puts what does not fit."""

    memory_limit_bytes: int
    spill_directory: Path | None = None


def join_features(
    entities: EntityRows, requests: Sequence[ViewRequest], workspace: Workspace
) -> Iterator[pa.Table]:
    """Returns the entity rows with their features: each row once, in their order, in one or more parts."""
    limit = workspace.memory_limit_bytes
    own = _COPIES * entities.byte_count + _WORKING_BYTES_PER_ROW * entities.row_count
    costs = [own + _cost(request) for request in requests]
    if entities.latest is None or max(costs, default=0) <= limit:
        yield _join_in_memory(entities, requests)
        return
    directory = Path(tempfile.mkdtemp(prefix="mltrainer-join-", dir=workspace.spill_directory))
    try:
        parts = [
            Partitioning(
                request,
                partitions=1 + cost // limit,
                rows_at_once=max(_FEWEST_ROWS_AT_ONCE, (_rows(request) + entities.row_count) * limit // cost),
            )
            for request, cost in zip(requests, costs, strict=True)
        ]
        yield from join_by_partition(entities, parts, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _join_in_memory(entities: EntityRows, requests: Sequence[ViewRequest]) -> pa.Table:
    joined = table = entities.table()
    for request in requests:
        history = _read_history(request, entities)
        for name, column in find_features(table, entities.time_column, request, history).items():
            joined = joined.append_column(name, column)
    return joined


def _read_history(request: ViewRequest, entities: EntityRows) -> pa.Table:
    if entities.latest is None:
        return request.dataset.schema.empty_table()
    condition = request.condition(entities.earliest, entities.latest)
    return request.dataset.to_table(columns=request.columns, filter=condition)


def _cost(request: ViewRequest) -> int:
    size = bytes_in_memory(request.dataset, request.columns)
    return _COPIES * size + _WORKING_BYTES_PER_ROW * _rows(request)


def _rows(request: ViewRequest) -> int:
    return int(request.dataset.count_rows())
