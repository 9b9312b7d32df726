"""Writes Parquet: datasets, pushed rows and logged features."""

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mltrainer_feature.adapters.offline.sources import Location, batches


def replace_rows(location: Location, tables: Iterable[pa.Table]) -> None:
    """Makes tables the only rows of a place; a file appears at once or not at all."""
    if not location.is_directory:
        with _replaced(location) as path:
            _write(location, path, tables)
        return
    location.filesystem.create_dir(location.path, recursive=True)
    new_path = f"{location.path}/{uuid.uuid4().hex}.parquet"
    former = [path for path in location.dataset().files if path != new_path]
    _write(location, new_path, tables)
    for path in former:
        location.filesystem.delete_file(path)


def append_rows(location: Location, rows: pa.Table) -> None:
    """Adds rows to a source; in a directory the same rows are one file, so a repetition adds nothing."""
    schema = location.dataset().schema
    rows = rows.cast(pa.schema([schema.field(name) for name in rows.column_names]))
    if location.is_directory:
        path = f"{location.path}/{_digest(rows)}.parquet"
        _write(location, path, [rows])
        return
    dataset = location.dataset()
    with _replaced(location) as path:
        _write(location, path, _chain(batches(dataset, dataset.schema.names, None), rows))


def log_rows(location: Location, rows: pa.Table, partition_by: list[str] | None) -> None:
    """Adds logged features to a directory as a file of their own."""
    ds.write_dataset(
        rows,
        base_dir=location.path,
        basename_template=f"{uuid.uuid4().hex}-{{i}}.parquet",
        partitioning=partition_by,
        partitioning_flavor="hive" if partition_by else None,
        filesystem=location.filesystem,
        format="parquet",
        existing_data_behavior="overwrite_or_ignore",
    )


def _chain(tables: Iterable[pa.Table], last: pa.Table) -> Iterator[pa.Table]:
    yield from tables
    yield last


def _digest(rows: pa.Table) -> str:
    digest = hashlib.sha256()
    for batch in rows.combine_chunks().to_batches():
        digest.update(batch.serialize())
    return digest.hexdigest()[:32]


def _write(location: Location, path: str, tables: Iterable[pa.Table]) -> None:
    writer = None
    try:
        for table in tables:
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, filesystem=location.filesystem)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _replaced(location: Location) -> Iterator[str]:
    """Gives a path to write to, which takes the place of the file in the end."""
    path = f"{location.path}.{uuid.uuid4().hex}"
    try:
        yield path
    except BaseException:
        if location.filesystem.get_file_info(path).is_file:
            location.filesystem.delete_file(path)
        raise
    location.filesystem.move(path, location.path)
