"""Bulk loads of bars from a file."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import polars as pl

from mltrainer_feature.domain.bars import BAR_SCHEMA, UTC_TIME, Bars
from mltrainer_feature.domain.errors import UnreadableBarsError

MAX_PROBLEMS = 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_NUMBERS = ("close", "open", "high", "low", "volume")
HISTORY_COLUMNS = ("symbol", "event_time", *_NUMBERS, "adjusted")


class ImportState(StrEnum):
    """Progress of an import."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class BarImport:
    """A bulk load. `next_row` is where it continues: the file's usable bars in order of event time."""

    name: str
    sha256: str
    state: ImportState
    create_time: datetime
    next_row: int = 0
    accepted_count: int = 0
    refused_count: int = 0
    problems: tuple[str, ...] = ()
    error: str = ""


def is_sha256(text: str) -> bool:
    """Tells whether a text is a digest as the artifact store writes it."""
    return _DIGEST.fullmatch(text) is not None


def import_name(sha256: str) -> str:
    """Names the import of a file; the same bytes are the same import."""
    return f"barImports/{sha256[:32]}"


def read_history(table: pl.DataFrame, close_offset: timedelta) -> Bars:
    """Reads a table of texts as bars whose knowledge time is their event time.

    Event times are RFC 3339, or dates, which mean that day's close. Texts that cannot be read become nulls,
    which validation refuses. Prices are adjusted where no column `adjusted` says otherwise.

    Raises:
        UnreadableBarsError: A column is missing, or does not say whether prices are adjusted.
    """
    missing = [column for column in ("symbol", "event_time", "close") if column not in table.columns]
    if missing:
        raise UnreadableBarsError(f"the file lacks the columns {', '.join(missing)}")
    text = pl.col("event_time").str.strip_chars()
    moments = [
        text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False) for form in _TIME_FORMATS
    ]
    closes = (
        text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")) + close_offset
    ).dt.replace_time_zone("UTC")
    numbers = {
        name: pl.col(name).cast(pl.Float64, strict=False)
        if name in table.columns
        else pl.lit(None, pl.Float64)
        for name in _NUMBERS
    }
    bars = table.select(
        symbol=pl.col("symbol").str.strip_chars(), event_time=pl.coalesce(*moments, closes), **numbers
    )
    return bars.with_columns(
        knowledge_time=pl.col("event_time").cast(UTC_TIME), adjusted=_adjusted(table)
    ).select(*BAR_SCHEMA)


def _adjusted(table: pl.DataFrame) -> pl.Series:
    if "adjusted" not in table.columns:
        return pl.repeat(value=True, n=table.height, eager=True)
    texts = table["adjusted"].str.strip_chars().str.to_lowercase()
    values = texts.replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
    if values.null_count():
        wrong = table["adjusted"].filter(values.is_null())[0]
        raise UnreadableBarsError(f"the column adjusted holds {wrong!r}: write true or false in every row")
    return values


def chunk_end(bars: Bars, start: int, size: int) -> int:
    """Ends a chunk of bars sorted by event time so that no event time is split."""
    end = min(start + size, bars.height)
    if end == bars.height:
        return end
    last = bars["event_time"][end - 1]
    return int(bars["event_time"].search_sorted(last, side="right"))
