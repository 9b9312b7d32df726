"""Opens a service's database, SQLite or PostgreSQL, so that concurrent writers never lose an update in silence."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import DateTime, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import TypeDecorator

T = TypeVar("T")

_BUSY_TIMEOUT_MS = 5_000
_READER_POOL_SIZE = 4
_CONFLICT_SQLSTATES = frozenset({"40001", "40P01"})
# 08 connection, 25006 read-only, 53 insufficient resources (disk full), 57P shutdown, 58 system error.
_UNAVAILABLE_SQLSTATES = ("08", "25006", "53", "57P", "58")
_UNAVAILABLE_SQLITE_TEXTS = (
    "full",
    "readonly",
    "unable to open",
    "disk i/o",
    "locked",
    "busy",
    "malformed",
    "not a database",
)
_CONNECT_ERRORS = (OSError, DBAPIError, PoolTimeoutError)


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

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the signature is SQLAlchemy's
        """Restores the zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Database:
    """Pairs the engine that writes with the engine that reads."""

    writer: AsyncEngine
    reader: AsyncEngine

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
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Opens a read-only view of one moment; it never waits for a writer."""
        async with _connection(self.reader) as connection:
            yield connection


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """Opens `sqlite:///path` or `postgresql://…`, creating the folder of a SQLite file, and closes it at the end.

    Raises:
        DatabaseUnavailableError: The folder cannot be made or the database cannot be reached.
    """
    database = _create(_async_url(url))
    try:
        yield database
    finally:
        await database.reader.dispose()
        await database.writer.dispose()


async def retry_conflicts(operation: Callable[[], Awaitable[T]], attempts: int = 10) -> T:
    """Runs a whole transaction again while concurrent ones win."""
    raise NotImplementedError


def upsert(connection: AsyncConnection, table: Table) -> Any:
    """Returns the dialect's INSERT, which has `on_conflict_do_update` and `on_conflict_do_nothing`."""
    return (sqlite if connection.dialect.name == DatabaseDialect.SQLITE else postgresql).insert(table)
