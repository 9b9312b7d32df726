"""The stream through a real broker, killed in the middle of a batch."""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mltrainer_feature.adapters.frames import read_bars, read_blocks
from mltrainer_feature.domain.bars import BAR_SCHEMA, Bars
from mltrainer_feature.domain.rows import FEATURE_NAMES, EventRange, Rows, compute_rows, newest_rows
from mltrainer_messaging.envelope import encode_event
from mltrainer_messaging.kafka import KafkaBroker

from .quotes import Quote, market, to_bars, to_event
from .test_store import DELAY

pytestmark = pytest.mark.integration
_CLOSES = ("symbol", "event_time", "knowledge_time", "close")


class Database:
    """The service's database, seen from outside."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def bars(self) -> Bars:
        return read_bars(_CLOSES, self._read(f"SELECT {', '.join(_CLOSES)} FROM bar"), BAR_SCHEMA)

    def rows(self, symbols: list[str]) -> Rows:
        columns = "event_time, created_time, row_count, symbols, features"
        return read_blocks(self._read(f"SELECT {columns} FROM row_block"), symbols)

    def online(self) -> dict[str, bytes]:
        return dict(self._read("SELECT symbol, features FROM online_row"))

    def _read(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()


async def until(is_done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_done():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(directory: Path, kafka: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(directory),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MLTRAINER_LOG_LEVEL": "error",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "mltrainer_feature", env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def publish(kafka: str, quotes: list[Quote], suffix: str) -> None:
    now = datetime.now(UTC)
    async with KafkaBroker(kafka, "data-source") as broker:
        await broker.publisher.publish(
            [
                encode_event(
                    to_event(quote),
                    source="/mltrainer/data-sources",
                    event_id=f"recovery-{quote.symbol}-{quote.day}-{suffix}",
                    time=now,
                    traceparent=None,
                )
                for quote in quotes
            ]
        )


def packed(rows: Rows) -> bytes:
    return np.ascontiguousarray(rows.select(FEATURE_NAMES).fill_null(np.nan).to_numpy()).tobytes()


async def test_a_batch_that_a_kill_interrupts_is_stored_once_and_whole(tmp_path: Path, kafka: str) -> None:
    quotes = market(4, 40)
    path = tmp_path / "feature" / "feature.db"
    database, progress = Database(path), path.with_name("progress")
    async with running(tmp_path, kafka) as process:
        await until(lambda: progress.exists() and len(database.online()) == 0)
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as lock:
            # Nobody can write while this lasts, so the batch that has begun is in its middle.
            lock.execute("BEGIN IMMEDIATE")
            await publish(kafka, quotes, "first")
            await until(lambda: any(progress.iterdir()))
            process.send_signal(signal.SIGKILL)
            await process.wait()
            before_restart = database.bars()
    await publish(kafka, quotes, "again")

    async with running(tmp_path, kafka) as process:
        await until(lambda: database.bars().height >= len(quotes))
        process.send_signal(signal.SIGTERM)
        await process.wait()

    bars = database.bars()
    times = bars["event_time"].to_list()
    expected = compute_rows(bars, EventRange(min(times), max(times)), DELAY)
    symbols = sorted(set(bars["symbol"].to_list()))
    newest = newest_rows(expected)
    assert before_restart.is_empty()
    assert bars.sort(_CLOSES).equals(to_bars(quotes).select(_CLOSES).sort(_CLOSES))
    rows = database.rows(symbols).sort("event_time", "created_time", "symbol")
    assert rows.select("event_time", "created_time", "symbol").equals(
        expected.select("event_time", "created_time", "symbol")
    )
    assert packed(rows) == packed(expected)
    assert b"".join(database.online()[symbol] for symbol in newest["symbol"]) == packed(newest)
