"""Writes a dataset as one Parquet file, a row group for each part, without holding the file in memory."""

import io
from contextlib import ExitStack
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from mltrainer_common.content_store import ContentStore, ContentUpload

from mltrainer_feature.domain.rows import Rows


class ParquetDataset:
    """Implements `DatasetFile`: bytes go to a spool of the artifact store."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._stack = ExitStack()
        self._upload = self._stack.enter_context(store.upload())
        self._writer: pq.ParquetWriter | None = None

    def add(self, part: Rows) -> None:
        """Appends rows as a row group."""
        table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = _writer(self._upload, table.schema)
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def finish(self) -> tuple[str, str]:
        """Stores the file durably and returns its digest and URI."""
        assert self._writer is not None, "a dataset has at least one part"
        self._writer.close()
        sha256 = self._upload.commit()
        return sha256, self._store.uri(sha256)

    def close(self) -> None:
        """Drops what was not finished."""
        with self._stack:
            if self._writer is not None:
                self._writer.close()


def _writer(upload: ContentUpload, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(_Sink(upload), schema, compression="zstd", compression_level=1)


class _Sink(io.RawIOBase):
    """An upload as a file that is only written."""

    def __init__(self, upload: ContentUpload) -> None:
        self._upload = upload
        self._size_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size_bytes

    def write(self, data: Any, /) -> int:
        chunk = bytes(data)
        self._upload.write(chunk)
        self._size_bytes += len(chunk)
        return len(chunk)
