"""Reads Parquet files and directories, with as little as possible in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

BATCH_ROWS = 131_072
_BYTES_OF_TEXT = 32
_BYTES_OF_NUMBER = 8
# Read ahead, a scan keeps every byte of a file that it has passed until its end.
_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True)
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file or directory lies."""

    filesystem: pyarrow.fs.FileSystem
    path: str

    @property
    def is_directory(self) -> bool:
        """Tells whether it is a directory, or will be one, because its name is no Parquet file's."""
        kind = self.filesystem.get_file_info(self.path).type
        if kind == pyarrow.fs.FileType.NotFound:
            return not self.path.endswith(".parquet")
        return bool(kind == pyarrow.fs.FileType.Directory)

    @property
    def exists(self) -> bool:
        """Tells whether there is anything."""
        return bool(self.filesystem.get_file_info(self.path).type != pyarrow.fs.FileType.NotFound)

    def dataset(self) -> ds.Dataset:
        """Opens the rows; `name=value` in the names of directories is a column."""
        return ds.dataset(self.path, filesystem=self.filesystem, format=_FORMAT, partitioning="hive")


def bytes_in_memory(dataset: ds.Dataset, columns: Sequence[str]) -> int:
    """Estimates how much memory columns of all rows take, from the files' footers."""
    if not isinstance(dataset, ds.FileSystemDataset):
        return int(dataset.count_rows()) * _width(dataset.schema, columns)
    return sum(_fragment_bytes(fragment, dataset.schema, columns) for fragment in dataset.get_fragments())


def time_filter(
    schema: pa.Schema, column: str, since: datetime | None, until: datetime | None
) -> pc.Expression | None:
    """Makes a filter that keeps every row between two times, and few others."""
    kind = schema.field(column).type
    if not pa.types.is_timestamp(kind):
        return None
    # Parquet footers and coarser units round: a moment more on either side costs nothing.
    slack = timedelta(seconds=1)
    bounds = []
    if since is not None and since.year > 1:
        bounds.append(pc.field(column) >= _scalar(since - slack, kind))
    if until is not None and until.year < 9999:
        bounds.append(pc.field(column) <= _scalar(until + slack, kind))
    return _all_of(bounds)


def both(left: pc.Expression | None, right: pc.Expression | None) -> pc.Expression | None:
    """Joins two filters, either of which may be absent."""
    return _all_of([item for item in (left, right) if item is not None])


def batches(
    dataset: ds.Dataset, columns: Sequence[str], condition: pc.Expression | None
) -> Iterator[pa.Table]:
    """Reads rows in their order, some at a time; a row group is held whole."""
    for part in _row_groups(dataset, condition):
        rows = part.to_table(columns=list(columns), filter=condition, use_threads=False)
        for start in range(0, rows.num_rows, BATCH_ROWS):
            yield rows.slice(start, BATCH_ROWS)


def _row_groups(dataset: ds.Dataset, condition: pc.Expression | None) -> Iterator[Any]:
    """Cuts a dataset by row group: a scan of all of them reads further ahead than memory may reach."""
    if not isinstance(dataset, ds.FileSystemDataset):
        yield dataset
        return
    for fragment in dataset.get_fragments(condition):
        for group in fragment.split_by_row_group(condition, schema=dataset.schema):
            yield ds.FileSystemDataset([group], dataset.schema, dataset.format, dataset.filesystem)


def _all_of(conditions: Sequence[pc.Expression]) -> pc.Expression | None:
    joined = None
    for condition in conditions:
        joined = condition if joined is None else joined & condition
    return joined


def _scalar(moment: datetime, kind: pa.DataType) -> pa.Scalar:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    value: Any = aware if kind.tz is not None else aware.astimezone(UTC).replace(tzinfo=None)
    return pa.scalar(value, type=pa.timestamp("us", tz=kind.tz)).cast(kind, safe=False)


def _fragment_bytes(fragment: Any, schema: pa.Schema, columns: Sequence[str]) -> int:
    metadata: pq.FileMetaData = fragment.metadata
    encoded = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            if column.path_in_schema.split(".")[0] in columns:
                encoded += column.total_uncompressed_size
    return max(encoded, int(metadata.num_rows) * _width(schema, columns))


def _width(schema: pa.Schema, columns: Sequence[str]) -> int:
    kinds = [schema.field(name).type for name in columns]
    return sum(_BYTES_OF_NUMBER if pa.types.is_primitive(kind) else _BYTES_OF_TEXT for kind in kinds)
