"""What each step of the write path costs the service's process, per row, in batches of one market close."""

import copy
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import stage
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_feature.adapters.online_rows import CachedOnlineRows, RowLayout
from mltrainer_feature.adapters.redis_connection import RedisAddress, RedisConnection
from mltrainer_feature.adapters.redis_layout import WRITE_SCRIPT
from mltrainer_feature.adapters.redis_rows import RowWrites
from mltrainer_feature.adapters.unit_of_work import SqlUnitOfWork, SqlUnitOfWorkFactory
from mltrainer_feature.application.open_store import OpenStoreHandler
from mltrainer_feature.application.record_bars import ReceivedBars, RecordBarsHandler
from mltrainer_feature.domain.bars import BAR_SCHEMA, Bars, split_new_bars
from mltrainer_feature.domain.live_window import LiveWindow
from mltrainer_feature.domain.rows import RowMatrix
from mltrainer_feature.wire.events import to_message
from mltrainer_feature.wire.feast_registry import REGISTRY_FILE, read_schema
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock
from mltrainer_testkit.redis import redis_server

SYMBOLS = tuple(f"S{number:02}" for number in range(20))
START = datetime(2020, 1, 1, 21, tzinfo=UTC)
DELAY = timedelta(hours=12)


def closes(first: int, count: int) -> Bars:
    """Returns the bars of all symbols on some days."""
    records = [
        (symbol, *[START + timedelta(days=day)] * 2, stage.close(symbol, day), *[None] * 4, True)
        for day in range(first, first + count)
        for symbol in SYMBOLS
    ]
    return pl.DataFrame(records, schema=BAR_SCHEMA, orient="row")


async def measure(directory: Path, batches: int) -> dict[str, dict[str, float]]:
    """Returns CPU microseconds per row of each step, and of the whole."""
    url = f"sqlite:///{directory}/write_path.db"
    await migrate(url, "mltrainer_feature.adapters.migrations")
    async with open_database(url) as database:
        unit_of_work = SqlUnitOfWorkFactory(
            EventTransactions(database, "feature", OutboxSignal(), encode=to_message), database
        )
        online = CachedOnlineRows(unit_of_work, RowLayout(read_schema(REGISTRY_FILE.read_bytes())))
        await OpenStoreHandler(unit_of_work, online, DELAY)()
        clock = ManualClock(START + timedelta(days=10_000))
        record = RecordBarsHandler(unit_of_work, online, clock)
        await record(ReceivedBars(_ids(0, stage.HISTORY_BARS), closes(0, stage.HISTORY_BARS)))
        return await _steps(unit_of_work, online, record, batches)


def _ids(first: int, count: int) -> tuple[str, ...]:
    return tuple(f"{symbol}-{day}" for day in range(first, first + count) for symbol in SYMBOLS)


async def _steps(
    unit_of_work: SqlUnitOfWorkFactory, online: CachedOnlineRows, record: RecordBarsHandler, batches: int
) -> dict[str, dict[str, float]]:
    window = LiveWindow.load(
        closes(0, stage.HISTORY_BARS), START + timedelta(days=stage.HISTORY_BARS), DELAY, 1
    )
    assert window is not None
    taken: dict[str, list[float]] = {}
    for number in range(batches):
        window = await _step(unit_of_work, online, window, number, taken)
    whole = taken.setdefault("all of it: bar, rows, events, one transaction", [])
    for number in range(batches):
        day = stage.HISTORY_BARS + number
        whole.append(await _cpu_us(partial(record, ReceivedBars(_ids(day, 1), closes(day, 1)))))
    return {title: _spread(costs) for title, costs in taken.items()}


async def _step(
    unit_of_work: SqlUnitOfWorkFactory,
    online: CachedOnlineRows,
    window: LiveWindow,
    number: int,
    taken: dict[str, list[float]],
) -> LiveWindow:
    bars = closes(stage.HISTORY_BARS + number, 1)
    started_ns = time.process_time_ns()
    split_new_bars(bars, START + timedelta(days=9_999))
    checked_ns = time.process_time_ns()
    found = window.extended(bars)
    computed_ns = time.process_time_ns()
    assert found is not None
    window, live = found
    async with unit_of_work() as uow:
        offline = await _cpu_us(partial(_sent, uow, uow.rows.replace(live.wanted, live.rows)))
        write = await _cpu_us(partial(_sent, uow, uow.rows.publish_online(live.newest, window.log_revision)))
        await uow.commit()
    costs = {
        "validation": (checked_ns - started_ns) / 1e3,
        "features": (computed_ns - checked_ns) / 1e3,
        "offline write, one block": offline,
        "online write, SQLite": write,
        "online rows into memory": await _cpu_us(partial(online.take, live.newest, window.log_revision)),
    }
    for title, cost in costs.items():
        taken.setdefault(title, []).append(cost)
    return window


async def measure_redis(directory: Path, batches: int) -> dict[str, dict[str, float]]:
    """Returns CPU microseconds per row of guarded writes of one close to Redis, prepared rows to last reply.

    Ten features are what the peer's figure has; 41 are those of this service.
    """
    layout = RowLayout(read_schema(REGISTRY_FILE.read_bytes()))
    ten = copy.copy(layout)
    ten.fields, ten.time_fields = layout.fields[:10], layout.time_fields[:1]
    costs: dict[str, dict[str, float]] = {}
    with redis_server(directory) as redis:
        connection = RedisConnection(RedisAddress.parse(redis.url))
        for title, used in (("10 features", ten), ("41 features", layout)):
            await connection.call(b"FLUSHALL")
            await connection.call(b"SCRIPT", b"LOAD", WRITE_SCRIPT)
            writes, taken = RowWrites(used), []
            for number in range(batches):
                rows = _row_matrix(number, len(used.fields))
                taken.append(await _cpu_us(partial(_write, connection, writes, rows, number)))
            costs[f"online write, Redis, {title}"] = _spread(taken)
        await connection.close()
    return costs


def _row_matrix(number: int, width: int) -> RowMatrix:
    times = np.full(len(SYMBOLS), number * 1_000_000, dtype=np.int64)
    values = np.random.default_rng(number).normal(size=(len(SYMBOLS), width))
    return RowMatrix(times, times, SYMBOLS, values)


async def _write(connection: RedisConnection, writes: RowWrites, rows: RowMatrix, number: int) -> None:
    commands = writes.commands(rows, number, b"")
    replies = await connection.execute(b"".join(commands), len(commands))
    assert replies == [1] * len(rows)


async def _sent(uow: SqlUnitOfWork, write: Awaitable[None]) -> None:
    await write
    await uow.rows.session.flush()


async def _cpu_us(step: Callable[[], Awaitable[Any]]) -> float:
    before_ns = time.process_time_ns()
    await step()
    return (time.process_time_ns() - before_ns) / 1e3


def _spread(costs: list[float]) -> dict[str, float]:
    per_row = [cost / len(SYMBOLS) for cost in costs]
    return {
        "median": round(statistics.median(per_row), 1),
        "lowest": round(min(per_row), 1),
        "highest": round(max(per_row), 1),
    }
