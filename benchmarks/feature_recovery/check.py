"""Compares what is stored and served with what all bars, computed again from nothing, give: bit for bit."""

import sqlite3
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from market import Bar
from mltrainer_feature.adapters.frames import read_blocks
from mltrainer_feature.domain.bars import BAR_SCHEMA
from mltrainer_feature.domain.rows import FEATURE_NAMES, EventRange, Rows, compute_rows, newest_rows

DELAY = timedelta(hours=12)
_KEYS = ["event_time", "created_time", "symbol"]
Vector = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What must be there."""

    bars: set[tuple[str, int, int, float]]
    rows: Rows

    @classmethod
    def of(cls, bars: list[Bar]) -> "Recomputed":
        records = [(bar.symbol, bar.event_time, bar.knowledge_time, bar.close) for bar in bars]
        schema = {name: BAR_SCHEMA[name] for name in ("symbol", "event_time", "knowledge_time", "close")}
        frame = pl.DataFrame(records, schema=schema, orient="row")
        first, last = min(bar.event_time for bar in bars), max(bar.event_time for bar in bars)
        rows = compute_rows(frame, EventRange(first, last), DELAY)
        keys = {
            (bar.symbol, _us(bar.event_time.timestamp()), _us(bar.knowledge_time.timestamp()), bar.close)
            for bar in bars
        }
        return cls(keys, rows)

    def online(self) -> dict[str, bytes]:
        """Returns the newest features of each symbol."""
        rows = newest_rows(self.rows)
        return dict(zip(rows["symbol"].to_list(), (line.tobytes() for line in _values(rows)), strict=True))


@dataclass(frozen=True, slots=True)
class Stored:
    """What is there, read from the database of a service that has ended."""

    bars: set[tuple[str, int, int, float]]
    bar_count: int
    rows: Rows
    online: dict[str, bytes]
    refused_count: int

    @classmethod
    def read(cls, database: Path, symbols: list[str]) -> "Stored":
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            bars = connection.execute("SELECT symbol, event_time, knowledge_time, close FROM bar").fetchall()
            blocks = connection.execute(
                "SELECT event_time, created_time, row_count, symbols, features FROM row_block"
            ).fetchall()
            online = dict(connection.execute("SELECT symbol, features FROM online_row").fetchall())
            refused = connection.execute("SELECT count(*) FROM quarantined_bar").fetchone()[0]
        return cls(set(bars), len(bars), read_blocks(blocks, symbols), online, refused)


def differences(stored: Stored, expected: Recomputed, served: dict[str, bytes]) -> list[str]:
    """Says what is lost, doubled or different."""
    found = []
    if stored.bars != expected.bars or stored.bar_count != len(expected.bars):
        lost, more = expected.bars - stored.bars, stored.bars - expected.bars
        found.append(f"bars: {len(lost)} lost, {len(more)} too many, e.g. {next(iter(lost or more), None)}")
    mine, theirs = stored.rows.sort(_KEYS), expected.rows.sort(_KEYS)
    if not mine.select(_KEYS).equals(theirs.select(_KEYS)):
        lost_rows = theirs.join(mine, on=_KEYS, how="anti")
        more_rows = mine.join(theirs, on=_KEYS, how="anti")
        found.append(f"rows: {lost_rows.height} lost, {more_rows.height} too many")
    elif _values(mine).tobytes() != _values(theirs).tobytes():
        different = (_values(mine).view(np.int64) != _values(theirs).view(np.int64)).any(axis=1).sum()
        found.append(f"rows: {different} differ in their bits")
    online = expected.online()
    if stored.online != online:
        found.append("online rows in the database differ from the newest offline rows")
    if served != online:
        found.append("what is served differs from the newest offline rows")
    return found


def _values(rows: Rows) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.ascontiguousarray(rows.select(FEATURE_NAMES).fill_null(float("nan")).to_numpy())


def _us(seconds: float) -> int:
    return round(seconds) * 1_000_000
