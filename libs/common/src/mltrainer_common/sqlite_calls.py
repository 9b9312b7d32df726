"""Connects to SQLite with as few changes between the event loop and the connection's thread as can be.

aiosqlite makes four calls of a statement (cursor, execute, fetch, close), each from the event loop to a
thread and back: that takes longer than SQLite does. Here a statement is one call (ADR 0092), and none where
it is known to be brief: what may wait for a lock or the disk goes to the thread, so every commit does (ADR
0110).
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self, cast

import aiosqlite

BEGIN_WRITING = "BEGIN IMMEDIATE"
_BEGIN_READING = "BEGIN"
_CHUNK_ROWS = 64
# A change of threads and back takes about 0.1 ms of CPU, and on a busy machine waits for a core twice.
_BRIEF_S = 0.000_5
_PROVEN = 3
_DISTRUST = -100
_MOST_STATEMENTS = 2_000
# So many brief statements run in a row before the event loop gets its turn.
_TURN = 8
_MOST_ROWS = 32


class BriefStatements:
    """Learns which statements take less time than a change of threads would.

    A statement is brief after three brief runs in the thread; one long run has it go back there for a
    hundred. Time is that of the processor: to be interrupted by others does not make a statement long.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self.clock = clock
        self._scores: dict[str, int] = {}

    def includes(self, sql: str) -> bool:
        """Tells whether the next run may be expected to be brief."""
        return self._scores.get(sql, 0) >= _PROVEN

    def note(self, sql: str, seconds: float) -> None:
        """Learns from one run."""
        if len(self._scores) >= _MOST_STATEMENTS:
            # Texts without end come from lists of many lengths; they are learned again.
            self._scores.clear()
        self._scores[sql] = min(self._scores.get(sql, 0) + 1, _PROVEN) if seconds <= _BRIEF_S else _DISTRUST


class WholeStatements(aiosqlite.Connection):
    """A connection whose cursors execute, fetch and close at once, brief statements without its thread."""

    def __init__(
        self, connector: Callable[[], sqlite3.Connection], busy_timeout_ms: int, brief: BriefStatements
    ) -> None:
        super().__init__(connector, _CHUNK_ROWS)
        self._busy_timeout_ms = busy_timeout_ms
        self._brief = brief
        self._in_a_row = 0
        # Each is changed by one thread only: the first by the event loop, the other by the connection's.
        self._issued = 0
        self._finished = 0

    def cursor(self) -> Any:
        """Returns a cursor; it takes no call."""
        return _Cursor(self)

    async def complete(self, sql: str, parameters: Any, *, many: bool) -> "_Outcome":
        """Executes a statement and takes all its rows."""
        if self._is_idle:
            if sql in (BEGIN_WRITING, _BEGIN_READING):
                if self._began(sql):
                    return _Outcome([])
            elif self._brief.includes(sql) and not (many and len(parameters) > _MOST_ROWS):
                return await self._complete_here(sql, parameters, many=many)
        return cast("_Outcome", await self._execute(self._complete, sql, parameters, many=many))

    def execute_fetchall(self, sql: str, parameters: Iterable[Any] | None = None) -> Any:
        """Returns, when awaited, all rows of a statement."""
        return self._fetched(sql, parameters or ())

    def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Any:
        """Executes, when awaited, a statement for each of many lines of parameters."""
        return self.complete(sql, parameters, many=True)

    async def rollback(self) -> None:
        """Rolls back; nothing of it waits for the disk, so it needs the thread only behind other calls."""
        if self._is_idle:
            self._conn.rollback()
        else:
            await super().rollback()

    @property
    def _is_idle(self) -> bool:
        return self._running and self._connection is not None and self._issued == self._finished

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def counted() -> Any:
            try:
                return fn(*args, **kwargs)
            finally:
                self._finished += 1

        if not self._running or self._connection is None:
            raise ValueError("Connection closed")
        self._in_a_row = 0
        self._issued += 1
        return await cast("Any", super())._execute(counted)  # noqa: SLF001 - what is overridden here

    def _began(self, sql: str) -> bool:
        """Begins a transaction unless another connection writes: then the thread waits for it."""
        self._conn.execute("PRAGMA busy_timeout=0")
        try:
            self._conn.execute(sql)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return False
            raise
        finally:
            self._conn.execute(f"PRAGMA busy_timeout={self._busy_timeout_ms}")
        return True

    async def _fetched(self, sql: str, parameters: Any) -> list[Any]:
        return (await self.complete(sql, parameters, many=False)).rows

    async def _complete_here(self, sql: str, parameters: Any, *, many: bool) -> "_Outcome":
        outcome = self._complete(sql, parameters, many=many)
        self._in_a_row = (self._in_a_row + 1) % _TURN
        if self._in_a_row == 0:
            # After the statement: two that are begun together keep their order.
            await asyncio.sleep(0)
        return outcome

    def _complete(self, sql: str, parameters: Any, *, many: bool) -> "_Outcome":
        begin_s = self._brief.clock()
        cursor = self._conn.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(sql, parameters)
            rows = cursor.fetchall() if cursor.description else []
            return _Outcome(rows, cursor.description, cursor.rowcount, cursor.lastrowid)
        finally:
            cursor.close()
            self._brief.note(sql, self._brief.clock() - begin_s)


@dataclass(slots=True)
class _Outcome:
    """What a statement left."""

    rows: list[Any]
    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None


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
        return await self.fetchmany(len(self._outcome.rows))

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        count = self.arraysize if size is None else size
        rows, self._outcome.rows = self._outcome.rows[:count], self._outcome.rows[count:]
        return rows

    async def fetchone(self) -> Any:
        return next(iter(await self.fetchmany(1)), None)

    async def close(self) -> None:
        self._outcome.rows = []


def connect(path: str, busy_timeout_ms: int, brief: BriefStatements | None = None) -> WholeStatements:
    """Returns a connection to be awaited, in autocommit: who uses it begins transactions.

    The driver's own transactions begin at the first write, after the reads: that loses updates. Connections
    that share `brief` learn together.
    """

    def open_file() -> sqlite3.Connection:
        # SQLite is compiled for use from several threads; ours take turns all the same.
        return sqlite3.connect(
            path, timeout=busy_timeout_ms / 1000, isolation_level=None, check_same_thread=False
        )

    connection = WholeStatements(open_file, busy_timeout_ms, brief or BriefStatements())
    # As SQLAlchemy does: a process that ends without closing its engines must not wait for their threads.
    connection._thread.daemon = True  # noqa: SLF001 - the driver offers no other way
    return connection
