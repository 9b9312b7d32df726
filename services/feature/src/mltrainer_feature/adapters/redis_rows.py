"""Keeps online rows in Redis: reads in one round trip, writes that never put an older row over a newer one.

Redis holds nothing that cannot be had again: the rows of this service's views follow the database, whose log
says what is new. A mark tells how far they have come, and that they are there at all: a Redis restarted
empty has none, so reads fail until the rows are back instead of finding nothing.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import structlog

from mltrainer_feature.adapters.frames import to_microseconds
from mltrainer_feature.adapters.online_rows import RowLayout
from mltrainer_feature.adapters.redis_connection import (
    RedisConnection,
    accepted,
    all_accepted,
    argument,
    command,
)
from mltrainer_feature.adapters.redis_layout import (
    ADVANCE_SCRIPT,
    WRITE_SCRIPT,
    guard,
    guard_field,
    mark_key,
    script_name,
)
from mltrainer_feature.application.online_plans import KeyGroup
from mltrainer_feature.application.ports import UnitOfWorkFactory
from mltrainer_feature.domain.errors import (
    OnlineStoreError,
    OnlineStoreLostError,
)
from mltrainer_feature.domain.online import Cell, OnlineRow

_MAX_GROUPS = 4_096
_ROWS_AT_ONCE = 500
_GUARD = guard_field("rows")
_log = structlog.get_logger()


class RedisOnlineStore:
    """Implements `OnlineStore` for every project whose rows lie in one Redis."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        # Commands of a group but for the key; the group is kept so that its identity stays taken.
        self._commands: dict[int, tuple[KeyGroup, bytes, bytes, bytes]] = {}

    async def read(
        self, groups: Sequence[KeyGroup], keys: Sequence[Sequence[bytes]]
    ) -> list[list[Sequence[Cell]]]:
        """Returns the cells of rows, all as of one life of the store."""
        parts: list[bytes] = []
        for group, wanted in zip(groups, keys, strict=True):
            _, mark, head, tail = self._commands.get(id(group)) or self._prepare(group)
            # The mark before and after: one that differs was lost, and perhaps came back, in between.
            parts.append(mark)
            parts += [b"%b$%d\r\n%b%b" % (head, len(key), key, tail) for key in wanted]
            parts.append(mark)
        replies = await self._connection.execute(b"".join(parts), len(parts))
        found, start = [], 0
        for group, wanted in zip(groups, keys, strict=True):
            end = start + len(wanted) + 1
            rows = replies[start + 1 : end]
            _check(group, replies[start], replies[end], rows)
            found.append(rows)
            start = end + 1
        return found

    def _prepare(self, group: KeyGroup) -> tuple[KeyGroup, bytes, bytes, bytes]:
        if len(self._commands) >= _MAX_GROUPS:
            self._commands.clear()
        mark = command(b"HGET", mark_key(group.project), b"epoch")
        head = b"*%d\r\n" % (2 + len(group.fields)) + argument(b"HMGET")
        tail = b"\r\n" + b"".join(map(argument, group.fields))
        made = self._commands[id(group)] = (group, mark, head, tail)
        return made


def _check(group: KeyGroup, before: Any, after: Any, rows: Sequence[Any]) -> None:
    if set(map(type, rows)) != {list}:
        all_accepted(rows)
    if accepted(before) is None or accepted(after) != before:
        raise OnlineStoreLostError(group.project)


class RedisOnlineRows:
    """Implements `OnlineRows`: brings Redis up to what the database has committed.

    Any number of processes may do so at once. An unreachable Redis keeps nobody from writing: the rows follow
    as soon as it is back.
    """

    def __init__(
        self, unit_of_work: UnitOfWorkFactory, layout: RowLayout, connection: RedisConnection
    ) -> None:
        self._unit_of_work = unit_of_work
        self._layout = layout
        self._connection = connection
        self._mark = mark_key(layout.project)
        self._lock = asyncio.Lock()
        self._is_away = False

    async def refresh(self) -> None:
        """Takes over what has been committed since the last time."""
        try:
            async with self._lock:
                await self._follow()
        except OnlineStoreError as error:
            if not self._is_away:
                _log.warning("online_store_away", error=str(error))
            self._is_away = True
        else:
            self._is_away = False

    async def _follow(self) -> None:
        held = await self._connection.call(b"HMGET", self._mark, b"epoch", b"layout", b"log_revision")
        epoch, layout, log_revision = held
        async with self._unit_of_work.snapshot() as stored:
            state = await stored.store.load()
            assert state is not None
            wanted = f"{state.layout_digest}:{state.decision_delay.total_seconds():.0f}".encode()
            is_new = epoch is None or layout != wanted
            since = -1 if is_new else int(log_revision)
            rows, reached = await stored.rows.online_rows(since)
        if rows:
            # Rows of other definitions may be created earlier than what they replace.
            await self._write(rows, reached, is_forced=epoch is not None and layout != wanted)
        if is_new:
            fresh = secrets.token_hex(8).encode()
            revision = str(reached).encode()
            await self._connection.call(
                b"HSET", self._mark, b"epoch", fresh, b"layout", wanted, b"log_revision", revision
            )
            await self._warn_of_eviction()
            _log.info("online_store_filled", rows=len(rows), project=self._layout.project)
        elif reached > since:
            await self._run(
                ADVANCE_SCRIPT,
                [command_of(ADVANCE_SCRIPT, self._mark, epoch, str(reached).encode())],
            )

    async def _warn_of_eviction(self) -> None:
        memory = (await self._connection.call(b"INFO", b"memory")).decode()
        facts = dict(line.split(":", 1) for line in memory.splitlines() if ":" in line)
        if facts.get("maxmemory_policy", "noeviction") != "noeviction":
            # Reads would find nothing of what was thrown away, and nobody would know.
            _log.warning("online_store_evicts", policy=facts["maxmemory_policy"])

    async def _write(self, rows: Sequence[OnlineRow], sequence: int, *, is_forced: bool) -> None:
        mode = b"force" if is_forced else b""
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            commands = [self._command(row, sequence, mode) for row in rows[first : first + _ROWS_AT_ONCE]]
            await self._run(WRITE_SCRIPT, commands)

    def _command(self, row: OnlineRow, sequence: int, mode: bytes) -> bytes:
        held = guard(to_microseconds(row.event_time), to_microseconds(row.created_time), sequence)
        cells = [part for cell in self._layout.cells(row).items() for part in cell]
        return command_of(WRITE_SCRIPT, self._layout.key(row.symbol), _GUARD, held, mode, *cells)

    async def _run(self, script: bytes, commands: Sequence[bytes]) -> None:
        payload = b"".join(commands)
        replies = await self._connection.execute(payload, len(commands))
        if any("NOSCRIPT" in str(reply) for reply in replies if isinstance(reply, Exception)):
            await self._connection.call(b"SCRIPT", b"LOAD", script)
            replies = await self._connection.execute(payload, len(commands))
        all_accepted(replies)


def command_of(script: bytes, key: bytes, *arguments: bytes) -> bytes:
    """Returns the command that runs a script on one key."""
    return command(b"EVALSHA", script_name(script), b"1", key, *arguments)
