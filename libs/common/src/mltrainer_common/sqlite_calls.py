"""Connects to SQLite so that one statement is one call to the connection's thread.

aiosqlite makes four calls of a statement (cursor, execute, fetch, close), each from the event loop to a
thread and back: that takes longer than SQLite does (ADR 0092).
"""

import sqlite3
from collections.abc import Iterable
from typing import Any, Self

import aiosqlite

_CHUNK_ROWS = 64


class WholeStatements(aiosqlite.Connection):
    """A connection whose cursors execute, fetch and close at once."""

    def cursor(self) -> Any:
        """Returns a cursor; it takes no call."""
        return _Cursor(self)

    async def complete(self, sql: str, parameters: Any, *, many: bool) -> "_Outcome":
        """Executes a statement and takes all its rows."""
        call: Any = self._execute
        outcome: _Outcome = await call(self._complete, sql, parameters, many=many)
        return outcome

    def _complete(self, sql: str, parameters: Any, *, many: bool) -> "_Outcome":
        cursor = self._conn.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(sql, parameters)
            rows = cursor.fetchall() if cursor.description else []
            return _Outcome(rows, cursor.description, cursor.rowcount, cursor.lastrowid)
        finally:
            cursor.close()


class _Outcome:
    """What a statement left."""

    __slots__ = ("description", "lastrowid", "rowcount", "rows")

    def __init__(
        self, rows: list[Any], description: Any = None, rowcount: int = -1, lastrowid: int | None = None
    ) -> None:
        self.rows = rows
        self.description = description
        self.rowcount = rowcount
        self.lastrowid = lastrowid


class _Cursor:
    """As much of a cursor as SQLAlchemy uses."""

    def __init__(self, connection: WholeStatements) -> None:
        self._connection = connection
        self._outcome = _Outcome([])
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    @property
    def description(self) -> Any:
        return self._outcome.description

    @property
    def rowcount(self) -> int:
        return self._outcome.rowcount

    @property
    def lastrowid(self) -> int | None:
        return self._outcome.lastrowid

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> Self:
        self._outcome = await self._connection.complete(sql, parameters, many=False)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        self._outcome = await self._connection.complete(sql, parameters, many=True)
        return self

    async def fetchall(self) -> list[Any]:
        rows, self._outcome.rows = self._outcome.rows, []
        return rows

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        count = self.arraysize if size is None else size
        rows, self._outcome.rows = self._outcome.rows[:count], self._outcome.rows[count:]
        return rows

    async def fetchone(self) -> Any:
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def close(self) -> None:
        self._outcome.rows = []


def connect(path: str, timeout_s: float) -> WholeStatements:
    """Returns a connection to be awaited, in autocommit: who uses it begins transactions.

    The driver's own transactions begin at the first write, after the reads: that loses updates.
    """
    connection = WholeStatements(
        lambda: sqlite3.connect(path, timeout=timeout_s, isolation_level=None), _CHUNK_ROWS
    )
    # As SQLAlchemy does: a process that ends without closing its engines must not wait for their threads.
    connection._thread.daemon = True  # noqa: SLF001 - the driver offers no other way
    return connection
