"""Reads files of bars from the artifact store and writes datasets to it."""

import gzip
import io
import zlib
from dataclasses import dataclass
from datetime import timedelta

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from mltrainer_common.content_store import ContentNotFoundError, ContentStore

from mltrainer_feature.adapters.parquet_dataset import ParquetDataset
from mltrainer_feature.domain.bars import Bars
from mltrainer_feature.domain.errors import UnreadableBarsError
from mltrainer_feature.domain.imports import HISTORY_COLUMNS, read_history

_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_VALUE_BYTES = 8
_KEYS = ("symbol", "event_time")
_TEXTS = (*_KEYS, "adjusted")


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
        """Reads a file of bars: CSV, plain or gzip, or Parquet.

        Raises:
            UnreadableBarsError: The bytes are no such file, or too many.
        """
        content = io.BytesIO(self.store.read_bytes(sha256))
        if content.getvalue()[:4] == _PARQUET_MAGIC:
            return read_history(self._parquet(content), self.close_offset)
        is_compressed = content.getvalue()[:2] == _GZIP_MAGIC
        source = gzip.GzipFile(fileobj=content) if is_compressed else content
        try:
            plain = source.read(self.max_bytes + 1)
            self._check_size(len(plain))
            table = pl.read_csv(plain, infer_schema=False, truncate_ragged_lines=True)
        except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as error:
            raise UnreadableBarsError(f"the file is no CSV, plain or gzip: {_first_line(error)}") from error
        return read_history(table, self.close_offset)

    def _parquet(self, content: io.BytesIO) -> pl.DataFrame:
        try:
            file = pq.ParquetFile(content)
            facts = file.metadata
            groups = (facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
            # Repeated values take almost nothing in the file, and their full size in memory.
            self._check_size(max(sum(groups), facts.num_rows * len(HISTORY_COLUMNS) * _VALUE_BYTES))
            columns = [name for name in HISTORY_COLUMNS if name in file.schema_arrow.names]
            table = pl.DataFrame(pl.from_arrow(file.read(columns)))
            return _as_texts(table)
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise UnreadableBarsError(f"the file is no Parquet of bars: {_first_line(error)}") from error

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self.max_bytes:
            raise UnreadableBarsError(f"the file holds more than {self.max_bytes} bytes: split it by time")

    def size_bytes(self, sha256: str) -> int:
        """Returns how many bytes lie under a digest; 0 where there are none."""
        try:
            return self.store.size_bytes(sha256)
        except ContentNotFoundError:
            return 0

    def delete(self, sha256: str) -> None:
        """Removes what lies under a digest, if anything does."""
        self.store.delete(sha256)

    def begin_dataset(self) -> "ParquetDataset":
        """Begins a dataset; whoever begins it closes it."""
        return ParquetDataset(self.store)


def _as_texts(table: pl.DataFrame) -> pl.DataFrame:
    wrong = [
        name
        for name, kind in table.schema.items()
        if name not in _TEXTS and not (kind.is_numeric() or kind in {pl.String, pl.Null})
    ]
    if wrong:
        raise UnreadableBarsError(f"the columns {', '.join(wrong)} hold no numbers")
    kind = table.schema.get("event_time")
    if isinstance(kind, pl.Datetime):
        if kind.time_zone is None:
            raise UnreadableBarsError("the event times have no time zone: write them with one, such as UTC")
        moment = pl.col("event_time").cast(pl.Datetime("us", kind.time_zone)).dt.convert_time_zone("UTC")
        table = table.with_columns(event_time=moment.dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ"))
    texts = [name for name in _TEXTS if name in table.columns]
    return table.with_columns(pl.col(texts).cast(pl.String))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
