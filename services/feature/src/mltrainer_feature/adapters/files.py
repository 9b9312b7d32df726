"""Reads files of bars from the artifact store and writes datasets to it."""

import gzip
import io
import zlib
from dataclasses import dataclass
from datetime import timedelta

import polars as pl
from mltrainer_common.content_store import ContentStore

from mltrainer_feature.domain.bars import Bars
from mltrainer_feature.domain.errors import UnreadableBarsError
from mltrainer_feature.domain.imports import read_history
from mltrainer_feature.domain.rows import Rows

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """Implements `Files`; every method blocks."""

    store: ContentStore
    close_offset: timedelta
    max_bytes: int

    def exists(self, sha256: str) -> bool:
        """Tells whether there is anything under a digest."""
        return self.store.exists(sha256)

    def read_history(self, sha256: str) -> Bars:
        """Reads a CSV of bars, plain or gzip.

        Raises:
            UnreadableBarsError: The bytes are no such file, or too many.
        """
        content = io.BytesIO(self.store.read_bytes(sha256))
        is_compressed = content.getvalue()[:2] == _GZIP_MAGIC
        source = gzip.GzipFile(fileobj=content) if is_compressed else content
        try:
            plain = source.read(self.max_bytes + 1)
            if len(plain) > self.max_bytes:
                raise UnreadableBarsError(
                    f"the file holds more than {self.max_bytes} bytes: split it by time"
                )
            table = pl.read_csv(plain, infer_schema=False, truncate_ragged_lines=True)
        except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as error:
            raise UnreadableBarsError(f"the file is no CSV, plain or gzip: {_first_line(error)}") from error
        return read_history(table, self.close_offset)

    def write_dataset(self, rows: Rows) -> tuple[str, str]:
        """Writes a dataset as Parquet and returns its digest and URI."""
        buffer = io.BytesIO()
        rows.write_parquet(buffer, compression="zstd", compression_level=1)
        sha256 = self.store.put_bytes(buffer.getvalue())
        return sha256, self.store.uri(sha256)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
