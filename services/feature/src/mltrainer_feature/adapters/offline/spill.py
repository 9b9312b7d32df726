"""Rows put aside on disk, by bucket."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(slots=True)
class SpilledRows:
    """Tables of one schema in numbered buckets; each keeps the order in which its rows came."""

    directory: Path
    byte_counts: dict[int, int] = field(default_factory=dict)
    row_counts: dict[int, int] = field(default_factory=dict)
    _writers: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir()

    def add(self, table: pa.Table, buckets: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Puts each row into its bucket."""
        order = np.argsort(buckets, kind="stable")
        numbers, starts = np.unique(buckets[order], return_index=True)
        ordered = table.take(pa.array(order))
        for number, start, end in zip(numbers, starts, [*starts[1:], len(order)], strict=True):
            self._write(int(number), ordered.slice(start, end - start))

    def finish(self) -> None:
        """Closes the files; nothing can be added then."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def tables(self, bucket: int) -> Iterator[pa.Table]:
        """Reads a bucket piece by piece."""
        if bucket not in self.row_counts:
            return
        with pa.OSFile(str(self._path(bucket))) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def delete(self, bucket: int) -> None:
        """Frees the space of a bucket."""
        self._path(bucket).unlink(missing_ok=True)

    def _write(self, bucket: int, table: pa.Table) -> None:
        if bucket not in self._writers:
            self._writers[bucket] = pa.ipc.new_stream(str(self._path(bucket)), table.schema, options=_OPTIONS)
        self._writers[bucket].write_table(table)
        self.byte_counts[bucket] = self.byte_counts.get(bucket, 0) + table.nbytes
        self.row_counts[bucket] = self.row_counts.get(bucket, 0) + table.num_rows

    def _path(self, bucket: int) -> Path:
        return self.directory / f"{bucket}.arrow"
