import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import aiosqlite
import mltrainer_common.database as database_module
import pytest
from mltrainer_common import sqlite_calls
from mltrainer_common.database import (
    Database,
    DatabaseConflictError,
    DatabaseDialect,
    DatabaseUnavailableError,
    UtcDateTime,
    open_database,
    retry_conflicts,
    upsert,
)
from mltrainer_testkit import conformance
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection

METADATA = MetaData()
COUNTER = Table("counter", METADATA, Column("name", String, primary_key=True), Column("value", Integer))
MOMENT = Table("moment", METADATA, Column("id", Integer, primary_key=True), Column("time", UtcDateTime))


@dataclass
class Counting:
    connection: AsyncConnection

    async def read(self) -> int:
        return int(await self.connection.scalar(select(COUNTER.c.value)) or 0)

    async def write(self, value: int) -> None:
        await self.connection.execute(update(COUNTER).values(value=value))

    async def commit(self) -> None:
        await self.connection.commit()


class CountingDatabase:
    def __init__(self, database: Database) -> None:
        self.database = database

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Counting]:
        async with self.database.manual_transaction() as connection:
            yield Counting(connection)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        async with opened.transaction() as connection:
            await connection.run_sync(METADATA.create_all)
            await connection.execute(insert(COUNTER).values(name="n", value=0))
        yield opened


async def test_concurrent_read_modify_writes_count_exactly(database: Database) -> None:
    await conformance.check_no_update_is_lost(CountingDatabase(database))


async def test_leaving_without_commit_rolls_back(database: Database) -> None:
    await conformance.check_leaving_without_commit_rolls_back(CountingDatabase(database))


async def test_a_cancelled_writer_frees_the_database(database: Database) -> None:
    await conformance.check_a_cancelled_writer_frees_the_database(CountingDatabase(database))


async def test_a_transaction_commits_at_its_end_and_rolls_back_on_an_error(database: Database) -> None:
    async with database.transaction() as connection:
        await Counting(connection).write(7)
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as connection:
            await Counting(connection).write(1 // 0)

    async with database.snapshot() as connection:
        assert await Counting(connection).read() == 7


async def test_a_snapshot_shows_one_moment_and_waits_for_no_writer(database: Database) -> None:
    async with database.snapshot() as reader, asyncio.timeout(5):
        before = await Counting(reader).read()
        async with database.transaction() as writer:
            await Counting(writer).write(99)
        after = await Counting(reader).read()

    assert (before, after) == (0, 0)


async def test_a_snapshot_cannot_write(database: Database) -> None:
    with pytest.raises((DatabaseUnavailableError, DBAPIError)):
        async with database.snapshot() as reader:
            await Counting(reader).write(1)


async def test_writing_works_after_a_snapshot_was_refused_a_write(database: Database) -> None:
    with pytest.raises((DatabaseUnavailableError, DBAPIError)):
        async with database.snapshot() as reader:
            await Counting(reader).write(1)

    async with database.transaction() as writer:
        await Counting(writer).write(2)

    async with database.snapshot() as reader:
        assert await Counting(reader).read() == 2


async def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    moment = datetime(2026, 3, 1, 9, 30, 0, 123456, tzinfo=timezone(timedelta(hours=-5)))

    async with database.transaction() as connection:
        await connection.execute(insert(MOMENT).values(id=1, time=moment))

    async with database.snapshot() as connection:
        stored = await connection.scalar(select(MOMENT.c.time).where(MOMENT.c.time == moment))
    assert stored == moment
    assert stored.tzinfo is UTC


async def test_a_naive_time_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="no time zone"):
        async with database.transaction() as connection:
            await connection.execute(insert(MOMENT).values(id=1, time=datetime(2026, 3, 1)))  # noqa: DTZ001


async def test_an_upsert_replaces_on_both_products(database: Database) -> None:
    async with database.transaction() as connection:
        insertion = upsert(connection, COUNTER).values(name="n", value=5)
        await connection.execute(
            insertion.on_conflict_do_update(index_elements=["name"], set_={"value": insertion.excluded.value})
        )
        assert await Counting(connection).read() == 5


async def test_a_broken_constraint_stays_what_it_is(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.transaction() as connection:
            await connection.execute(insert(COUNTER).values(name="n", value=1))


async def test_a_conflict_that_never_ends_is_reported(database: Database) -> None:
    attempts = 0

    async def lose() -> None:
        nonlocal attempts
        attempts += 1
        raise DatabaseConflictError("lost")

    with pytest.raises(DatabaseConflictError):
        await retry_conflicts(lose, attempts=3, first_backoff_s=0)

    assert attempts == 3


async def test_sqlite_writes_ahead_and_syncs_every_commit(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a/b/c.db"
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")

    async with (
        open_database(url) as database,
        database.transaction() as connection,
    ):
        settings = [await connection.scalar(text(f"PRAGMA {name}")) for name in names]

    assert database.dialect is DatabaseDialect.SQLITE
    assert settings == ["wal", 2, 1, 5000]


async def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    async with open_database(f"sqlite:///{tmp_path}/full.db") as database:
        async with database.transaction() as connection:
            await connection.run_sync(METADATA.create_all)
            pages = await connection.scalar(text("PRAGMA page_count"))
            # SQLite answers as on a full disk once the file may not grow.
            await connection.execute(text(f"PRAGMA max_page_count = {pages}"))

        with pytest.raises(DatabaseUnavailableError, match="full"):
            async with database.transaction() as connection:
                await connection.execute(insert(COUNTER).values(name="x" * 100_000, value=1))


async def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DatabaseUnavailableError, match="file"):
        async with open_database(f"sqlite:///{tmp_path}/file/x.db"):
            pass


async def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("not a database at all " * 100)

    async with open_database(f"sqlite:///{tmp_path}/x.db") as database:
        with pytest.raises(DatabaseUnavailableError, match="not a database"):
            async with database.transaction() as connection:
                await connection.execute(text("SELECT 1"))


async def test_a_writer_in_another_process_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mltrainer_common.database._BUSY_TIMEOUT_MS", 50)
    async with open_database(f"sqlite:///{tmp_path}/busy.db") as database:
        async with database.transaction() as connection:
            await connection.run_sync(METADATA.create_all)
        other = sqlite3.connect(tmp_path / "busy.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(DatabaseUnavailableError, match="locked"):
            async with database.transaction():
                pass
        other.close()

        async with database.transaction() as connection:
            await connection.execute(insert(COUNTER).values(name="n", value=1))


async def test_an_unreachable_server_is_one_clear_error_without_the_password() -> None:
    async with open_database("postgresql://user:secret@127.0.0.1:1/none") as database:
        with pytest.raises(DatabaseUnavailableError, match=r"127\.0\.0\.1:1") as caught:
            async with database.transaction():
                pass

    assert "secret" not in str(caught.value)


async def test_a_missing_postgresql_database_is_one_clear_error(postgres_url: str) -> None:
    async with open_database(postgres_url + "x") as database:
        with pytest.raises(DatabaseUnavailableError, match="does not exist"):
            async with database.snapshot():
                pass


async def test_a_connection_the_server_ended_is_replaced(postgres_url: str) -> None:
    async with open_database(postgres_url) as database:
        with pytest.raises(DatabaseUnavailableError):
            async with database.transaction() as connection:
                await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        async with database.transaction() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("is_noticed", [True, False], ids=["noticed", "unnoticed"])
async def test_a_connection_that_ended_while_it_rested_is_replaced(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, *, is_noticed: bool
) -> None:
    if not is_noticed:
        monkeypatch.setattr(database_module, "_TEST_AFTER_S", -1.0)
    async with open_database(postgres_url) as database, open_database(postgres_url) as other:
        async with database.transaction() as connection:
            rested = (await connection.get_raw_connection()).driver_connection
            process_id = await connection.scalar(text("SELECT pg_backend_pid()"))
        async with other.transaction() as connection:
            await connection.execute(text(f"SELECT pg_terminate_backend({process_id})"))
        while is_noticed and not rested.is_closed():  # noqa: ASYNC110 - the driver tells nobody
            await asyncio.sleep(0.01)

        async with database.transaction() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1


async def test_a_single_statement_commits_by_itself(database: Database) -> None:
    async with database.single_statement() as connection:
        await connection.execute(update(COUNTER).values(value=7))

    async with database.snapshot() as connection:
        assert await connection.scalar(select(COUNTER.c.value)) == 7


async def test_an_in_memory_database_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a file"):
        async with open_database("sqlite://"):
            pass


class Watched:
    """A connection to SQLite, which calls its thread made, and what a statement takes by its clock."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.statement_s = 0.0
        self._now_s = 0.0
        execute: Any = aiosqlite.Connection._execute

        async def counted(connection: aiosqlite.Connection, function: Any, *args: Any, **named: Any) -> Any:
            self.calls += 1
            return await execute(connection, function, *args, **named)

        monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
        self.connection = sqlite_calls.connect(str(path), 1_000, sqlite_calls.BriefStatements(self._clock))

    async def run(self, sql: str, times: int = 1) -> list[Any]:
        rows: list[Any] = []
        for _ in range(times):
            cursor = self.connection.cursor()
            await cursor.execute(sql)
            rows = await cursor.fetchall()
        return rows

    def _clock(self) -> float:
        self._now_s += self.statement_s
        return self._now_s


async def test_a_statement_of_sqlite_is_one_call_to_its_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path / "one.db", monkeypatch)
    async with watched.connection as connection:
        cursor = connection.cursor()
        await cursor.execute("VALUES (1), (2), (3)")
        rows = [await cursor.fetchone(), *await cursor.fetchmany(1), *await cursor.fetchall()]

        assert (rows, watched.calls) == ([(1,), (2,), (3,)], 1)


async def test_a_brief_statement_needs_its_thread_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path / "one.db", monkeypatch)
    async with watched.connection:
        rows = await watched.run("VALUES (1)", times=50)

        assert (rows, watched.calls) == ([(1,)], 3)


async def test_a_long_statement_always_runs_in_its_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path / "one.db", monkeypatch)
    watched.statement_s = 0.01
    async with watched.connection:
        await watched.run("VALUES (1)", times=50)

        assert watched.calls == 50


async def test_a_statement_that_becomes_long_returns_to_its_thread_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path / "one.db", monkeypatch)
    async with watched.connection:
        await watched.run("VALUES (1)", times=3)
        watched.statement_s = 0.01
        await watched.run("VALUES (1)")
        watched.statement_s = 0.0
        await watched.run("VALUES (1)", times=200)

        assert watched.calls == 3 + 103


async def test_many_rows_go_to_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path / "one.db", monkeypatch)
    async with watched.connection as connection:
        await watched.run("CREATE TABLE t (n INTEGER)")
        await watched.run(sqlite_calls.BEGIN_WRITING)
        for _ in range(10):
            await connection.cursor().executemany("INSERT INTO t VALUES (?)", [(1,)] * 33)

        assert watched.calls == 11
        assert await watched.run("SELECT count(*) FROM t") == [(330,)]


async def test_calls_of_the_driver_itself_need_its_thread_as_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path / "one.db", monkeypatch)
    async with watched.connection as connection:
        await watched.run("CREATE TABLE t (n INTEGER)")
        await watched.run(sqlite_calls.BEGIN_WRITING)
        for number in range(10):
            await connection.executemany("INSERT INTO t VALUES (?)", [(number,), (number,)])
            rows = await connection.execute_fetchall("SELECT count(*) FROM t WHERE n <= ?", (number,))

        assert (rows, watched.calls) == ([(20,)], 1 + 3 + 3)


async def test_statements_that_are_sent_together_keep_their_order(tmp_path: Path) -> None:
    async with sqlite_calls.connect(str(tmp_path / "one.db"), 1_000) as connection:
        await connection.execute_fetchall("CREATE TABLE t (n INTEGER)")
        await connection.execute_fetchall(sqlite_calls.BEGIN_WRITING)
        for start in range(0, 200, 20):
            brief = [connection.executemany("INSERT INTO t VALUES (?)", [(start + n,)]) for n in range(19)]
            many = connection.executemany("INSERT INTO t VALUES (?)", [(start + 19,)] * 40)
            await asyncio.gather(*brief[:10], many, *brief[10:])
        found = await connection.execute_fetchall("SELECT DISTINCT n FROM t ORDER BY rowid")

    order = [*range(10), 19, *range(10, 19)]
    assert [number for (number,) in found] == [start + n for start in range(0, 200, 20) for n in order]


async def test_brief_statements_let_others_have_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path / "one.db", monkeypatch)
    turns: list[int] = []

    async def count_turns() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async with watched.connection:
        await watched.run("VALUES (1)", times=3)
        async with asyncio.TaskGroup() as group:
            other = group.create_task(count_turns())
            await watched.run("VALUES (1)", times=80)
            other.cancel()

    assert len(turns) == 10


async def test_transactions_begin_and_roll_back_without_the_thread_and_commit_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path / "one.db", monkeypatch)
    async with watched.connection as connection:
        await watched.run(sqlite_calls.BEGIN_WRITING)
        await connection.rollback()
        before = watched.calls
        await watched.run(sqlite_calls.BEGIN_WRITING)
        await connection.commit()

        assert (before, watched.calls) == (0, 1)


async def test_who_must_wait_for_another_writer_waits_in_the_thread(tmp_path: Path) -> None:
    path = str(tmp_path / "one.db")
    async with sqlite_calls.connect(path, 60_000) as first, sqlite_calls.connect(path, 60_000) as second:
        await first.cursor().execute(sqlite_calls.BEGIN_WRITING)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(second.cursor().execute(sqlite_calls.BEGIN_WRITING))
            # The loop is free while the other waits: it is this turn that ends the first transaction.
            await asyncio.sleep(0)
            assert not waiting.done()
            await first.rollback()

        assert second.in_transaction


async def test_nothing_overtakes_a_statement_that_its_caller_gave_up(tmp_path: Path) -> None:
    release = threading.Event()
    async with sqlite_calls.connect(str(tmp_path / "one.db"), 1_000) as connection:
        await connection.create_function("held", 0, release.wait)
        await connection.cursor().execute(sqlite_calls.BEGIN_WRITING)
        given_up = asyncio.create_task(connection.cursor().execute("SELECT held()"))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        rollback = asyncio.create_task(connection.rollback())
        await asyncio.sleep(0)

        assert not rollback.done()
        release.set()
        await rollback
        assert not connection.in_transaction
