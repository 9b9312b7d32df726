"""Finds the features of entity rows among a source's rows, all of them in memory."""

import polars as pl
import pyarrow as pa

from mltrainer_feature.adapters.offline.columns import read_history, read_moments, with_equal_key_types
from mltrainer_feature.adapters.offline.requests import ViewRequest
from mltrainer_feature.domain.point_in_time import History, Moments, newest_known, newest_of_each_key


def find_features(
    entities: pa.Table, time_column: str, request: ViewRequest, history: pa.Table
) -> dict[str, pa.Array]:
    """Returns the columns of the result, one value for each entity row."""
    moments, known = keyed_alike(entities, time_column, request, history)
    return take_outputs(request, history, newest_known(moments, known, request.rule))


def keyed_alike(
    entities: pa.Table, time_column: str, request: ViewRequest, history: pa.Table
) -> tuple[Moments, History]:
    """Reads both sides of the join, with join keys of equal types."""
    names = [key.entity_column for key in request.keys]
    return with_equal_key_types(
        read_moments(entities, names, time_column), read_known(request, history), names
    )


def read_known(request: ViewRequest, history: pa.Table) -> History:
    """Reads a source's rows under the names that join keys have in the entity rows."""
    pairs = [(key.entity_column, key.source_column) for key in request.keys]
    return read_history(history, pairs, request.event_column, request.created_column)


def newest_rows(request: ViewRequest, history: pa.Table) -> pa.Table:
    """Keeps the newest row of each key."""
    places = newest_of_each_key(read_known(request, history), request.rule)
    return history.take(places.to_arrow())


def take_outputs(request: ViewRequest, history: pa.Table, places: pl.Series) -> dict[str, pa.Array]:
    """Returns the features that stand at places of a source; null where there is no place."""
    indices = places.to_arrow()
    return {output.name: _whole(history[output.source_column]).take(indices) for output in request.outputs}


def _whole(column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Joins the chunks: taking from many is slow."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
