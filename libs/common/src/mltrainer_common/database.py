"""Opens a service's database, SQLite or PostgreSQL, so that concurrent writers never lose an update."""

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, DateTime, Table, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from mltrainer_common import sqlite_calls

T = TypeVar("T")

_BUSY_TIMEOUT_MS = 5_000
_READER_POOL_SIZE = 4
_TEST_AFTER_S = 1.0
_CONFLICT_SQLSTATES = frozenset({"40001", "40P01"})
# Classes: 08 connection, 53 resources (disk full), 57P shutdown, 58 system; 25006 is a read-only server.
_UNAVAILABLE_SQLSTATES = ("08", "25006", "53", "57P", "58")
_UNAVAILABLE_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)


class DatabaseUnavailableError(Exception):
    """The database cannot serve now: unreachable, busy for too long, read-only, or its disk is full."""


class DatabaseConflictError(Exception):
    """A concurrent transaction won; the whole transaction may be tried again."""


class DatabaseDialect(StrEnum):
    """Names the database product behind a URL."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class UtcDateTime(TypeDecorator[datetime]):
    """Stores an aware datetime as UTC and returns it aware; refuses a naive one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Converts to UTC; SQLite keeps no zone, so there the value is stored without it."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; times are stored as UTC")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == DatabaseDialect.SQLITE else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Restores the zone that SQLite does not keep."""
        if value is None or dialect.name != DatabaseDialect.SQLITE:
            return value
        return value.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Database:
    """Pairs the engine that writes with the engine that reads.

    Attributes:
        single_writer: Writes as well; on PostgreSQL each statement is a transaction of its own.
        single_reader: Reads in the same way.
    """

    writer: AsyncEngine
    reader: AsyncEngine
    single_writer: AsyncEngine
    single_reader: AsyncEngine

    @property
    def dialect(self) -> DatabaseDialect:
        """Returns which product this is."""
        return DatabaseDialect(self.writer.dialect.name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Opens a write transaction that commits when the block ends and rolls back when it raises.

        Raises:
            DatabaseUnavailableError: The database cannot serve now.
            DatabaseConflictError: A concurrent transaction won.
        """
        async with self.manual_transaction() as connection:
            yield connection
            await connection.commit()

    @asynccontextmanager
    async def manual_transaction(self) -> AsyncIterator[AsyncConnection]:
        """Opens a write transaction that rolls back unless the block calls `commit()`; for units of work."""
        async with _connection(self.writer) as connection:
            yield connection

    @asynccontextmanager
    async def single_statement(self) -> AsyncIterator[AsyncConnection]:
        """Opens a connection for one writing statement, which commits without round trips of its own."""
        async with _connection(self.single_writer) as connection:
            yield connection
            await connection.commit()

    @asynccontextmanager
    async def single_read(self) -> AsyncIterator[AsyncConnection]:
        """Opens a connection for reading statements that need not agree on one moment."""
        async with _connection(self.single_reader) as connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Opens a read-only view of one moment; it never waits for a writer."""
        async with _connection(self.reader) as connection:
            yield connection


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """Opens `sqlite:///path` or `postgresql://…`, creating the folder of a SQLite file; closes it at the end.

    Nothing is connected before the first transaction.

    Raises:
        DatabaseUnavailableError: The folder of the SQLite file cannot be made.
    """
    database = _create(make_url(url))
    try:
        yield database
    finally:
        await database.reader.dispose()
        await database.writer.dispose()


async def retry_conflicts(
    operation: Callable[[], Awaitable[T]], attempts: int = 10, first_backoff_s: float = 0.005
) -> T:
    """Runs an operation that opens its own transaction again while concurrent ones win."""
    for attempt in range(attempts - 1):
        try:
            return await operation()
        except DatabaseConflictError:
            await asyncio.sleep(random.uniform(0.5, 1.5) * first_backoff_s * 2**attempt)  # noqa: S311 - jitter
    return await operation()


def upsert(connection: AsyncConnection, table: Table) -> Any:
    """Returns the dialect's INSERT, with `on_conflict_do_update` and `on_conflict_do_nothing`."""
    product = sqlite if connection.dialect.name == DatabaseDialect.SQLITE else postgresql
    return product.insert(table)


@asynccontextmanager
async def _connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(engine.connect())
        except (OSError, DBAPIError, PoolTimeoutError) as error:
            raise _unavailable(engine.url, error) from error
        try:
            # The transaction begins here, not at the first statement: its wait is the block's.
            _ = await connection.begin()
            yield connection
        except DBAPIError as error:
            raise _translated(engine.url, error) from error


def _translated(url: URL, error: DBAPIError) -> Exception:
    original = error.orig
    sqlite_code = getattr(original, "sqlite_errorcode", None)
    # The low byte of an extended SQLite code is its primary code.
    if sqlite_code is not None:
        return _unavailable(url, error) if sqlite_code & 0xFF in _UNAVAILABLE_SQLITE_CODES else error
    state = getattr(original, "sqlstate", None)
    if state in _CONFLICT_SQLSTATES:
        return DatabaseConflictError(f"another transaction changed the same rows of {_shown(url)}")
    if error.connection_invalidated or (state or "").startswith(_UNAVAILABLE_SQLSTATES):
        return _unavailable(url, error)
    return error


def _unavailable(url: URL, error: Exception) -> DatabaseUnavailableError:
    cause = getattr(error, "orig", None) or error
    return DatabaseUnavailableError(f"database {_shown(url)} cannot serve now: {cause}")


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _create(url: URL) -> Database:
    product = DatabaseDialect(url.get_backend_name())
    if product is DatabaseDialect.POSTGRESQL:
        url = url.set(drivername="postgresql+asyncpg")
        # REPEATABLE READ turns a lost update into DatabaseConflictError; the default is silent about it.
        writer = create_async_engine(url, isolation_level="REPEATABLE READ")
        _test_rested_connections(writer)
        reader = writer.execution_options(postgresql_readonly=True)
        single = writer.execution_options(isolation_level="AUTOCOMMIT")
        return Database(writer, reader, single, single)
    path = Path(url.database or "")
    if not url.database or url.database == ":memory:":
        raise ValueError("SQLite needs a file: two engines do not see one in-memory database")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unavailable(url, error) from error
    writer, reader = (_sqlite_engine(url, is_writer=is_writer) for is_writer in (True, False))
    return Database(writer, reader, writer, reader)


def _test_rested_connections(engine: AsyncEngine) -> None:
    """Tests a connection that has rested before it is used again.

    SQLAlchemy's own test before every use takes three round trips, as many as most transactions.
    """
    dialect = engine.sync_engine.dialect

    def note(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["returned_s"] = time.monotonic()

    def test(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        rested_s = time.monotonic() - record.info.get("returned_s", time.monotonic())
        try:
            if connection.driver_connection.is_closed():
                raise InvalidatePoolError
            if rested_s > _TEST_AFTER_S:
                dialect.do_ping(connection)
        except (OSError, dialect.loaded_dbapi.Error) as error:
            raise InvalidatePoolError from error

    event.listen(engine.sync_engine, "checkin", note)
    event.listen(engine.sync_engine, "checkout", test)


def _sqlite_engine(url: URL, *, is_writer: bool) -> AsyncEngine:
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=1 if is_writer else _READER_POOL_SIZE,
        max_overflow=0,
        async_creator=partial(
            sqlite_calls.connect, url.database or "", _BUSY_TIMEOUT_MS, sqlite_calls.BriefStatements()
        ),
    )
    pragmas = ["journal_mode=WAL", "synchronous=FULL"] if is_writer else ["query_only=ON"]

    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={_BUSY_TIMEOUT_MS}", *pragmas, "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(sqlite_calls.BEGIN_WRITING if is_writer else "BEGIN")

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin)
    return engine
