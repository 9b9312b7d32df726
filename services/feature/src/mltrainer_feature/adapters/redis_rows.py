"""Keeps online rows in Redis: reads in one round trip, writes that never put an older row over a newer one.

Redis holds nothing that cannot be had again: the rows of this service's views follow the database, whose log
says what is new. A mark tells how far they have come, and that they are there at all: a Redis restarted
empty has none, so reads fail until the rows are back instead of finding nothing.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from mltrainer_feature.adapters.online_rows import RowLayout, time_cells
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
from mltrainer_feature.domain.online import Cell
from mltrainer_feature.domain.rows import RowMatrix
from mltrainer_feature.wire.online_format import DOUBLE_BYTES, double_cells

_MAX_GROUPS = 4_096
_ROWS_AT_ONCE = 500
_MAX_KEYS = 65_536
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
        self._writes = RowWrites(layout)
        self._project = layout.project
        self._connection = connection
        self._mark = mark_key(layout.project)
        # What Redis said of its content when it was last brought up to the database.
        self._wanted: bytes | None = None
        self._lock = asyncio.Lock()
        self._is_away = False

    async def refresh(self) -> None:
        """Takes over what has been committed since the last time."""
        await self._do(self._follow)

    async def take(self, rows: RowMatrix, log_revision: int) -> None:
        """Writes rows that were committed as a revision; asks for them where others come before it."""

        async def step() -> None:
            epoch, layout, held = await self._held()
            if epoch is None or layout != self._wanted or int(held) != log_revision - 1:
                await self._follow()
            else:
                await self._write(rows, log_revision, b"", self._advance(epoch, log_revision))

        await self._do(step)

    async def _do(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._lock:
                await step()
        except OnlineStoreError as error:
            if not self._is_away:
                _log.warning("online_store_away", error=str(error))
            self._is_away = True
        else:
            self._is_away = False

    async def _held(self) -> tuple[bytes | None, bytes | None, bytes]:
        epoch, layout, log_revision = await self._connection.call(
            b"HMGET", self._mark, b"epoch", b"layout", b"log_revision"
        )
        return epoch, layout, log_revision

    async def _follow(self) -> None:
        epoch, layout, log_revision = await self._held()
        async with self._unit_of_work.snapshot() as stored:
            state = await stored.store.load()
            assert state is not None
            wanted = f"{state.layout_digest}:{state.decision_delay.total_seconds():.0f}".encode()
            is_new = epoch is None or layout != wanted
            since = -1 if is_new else int(log_revision)
            rows, reached = await stored.rows.online_rows(since)
        # Rows of other definitions may be created earlier than what they replace.
        mode = b"force" if epoch is not None and layout != wanted else b""
        advance = (
            self._advance(epoch, reached) if epoch is not None and reached > since and not is_new else b""
        )
        await self._write(rows, reached, mode, advance)
        if is_new:
            fresh = secrets.token_hex(8).encode()
            revision = str(reached).encode()
            await self._connection.call(
                b"HSET", self._mark, b"epoch", fresh, b"layout", wanted, b"log_revision", revision
            )
            await self._warn_of_eviction()
            _log.info("online_store_filled", rows=len(rows), project=self._project)
        self._wanted = wanted

    async def _warn_of_eviction(self) -> None:
        memory = (await self._connection.call(b"INFO", b"memory")).decode()
        facts = dict(line.split(":", 1) for line in memory.splitlines() if ":" in line)
        if facts.get("maxmemory_policy", "noeviction") != "noeviction":
            # Reads would find nothing of what was thrown away, and nobody would know.
            _log.warning("online_store_evicts", policy=facts["maxmemory_policy"])

    def _advance(self, epoch: bytes, log_revision: int) -> bytes:
        return command_of(ADVANCE_SCRIPT, self._mark, epoch, str(log_revision).encode())

    async def _write(self, rows: RowMatrix, sequence: int, mode: bytes, advance: bytes) -> None:
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows.at(np.arange(first, min(first + _ROWS_AT_ONCE, len(rows))))
            commands = self._writes.commands(part, sequence, mode)
            await self._run(WRITE_SCRIPT, commands)
        if advance:
            # Behind the rows, never beside them: a write that fails must be made again.
            await self._run(ADVANCE_SCRIPT, [advance])

    async def _run(self, script: bytes, commands: Sequence[bytes]) -> None:
        payload = b"".join(commands)
        replies = await self._connection.execute(payload, len(commands))
        if any("NOSCRIPT" in str(reply) for reply in replies if isinstance(reply, Exception)):
            await self._connection.call(b"SCRIPT", b"LOAD", script)
            replies = await self._connection.execute(payload, len(commands))
        all_accepted(replies)


class RowWrites:
    """Makes the commands that write rows: all bytes but keys, guards, numbers and times are made once.

    A stored double always takes nine bytes, so a row without undefined values is a copy of one template.
    """

    def __init__(self, layout: RowLayout) -> None:
        self._layout = layout
        words = 7 + 2 * (len(layout.fields) + len(layout.time_fields))
        self._head = b"*%d\r\n" % words + b"".join(
            map(argument, (b"EVALSHA", script_name(WRITE_SCRIPT), b"1"))
        )
        self._guard_field = argument(_GUARD)
        self._fields = [argument(name) for name in layout.fields]
        self._time_fields = [argument(name) for name in layout.time_fields]
        pairs = [name + argument(bytes(DOUBLE_BYTES)) for name in self._fields]
        self._template = np.frombuffer(b"".join(pairs), dtype=np.uint8)
        ends = np.cumsum([len(pair) for pair in pairs]) - len(b"\r\n")
        self._places = (ends[:, None] - DOUBLE_BYTES + np.arange(DOUBLE_BYTES)).ravel()
        self._keys: dict[str, bytes] = {}

    def commands(self, rows: RowMatrix, sequence: int, mode: bytes) -> list[bytes]:
        """Returns a command for each row."""
        cells = double_cells(rows.values)
        lines = np.tile(self._template, (len(rows), 1))
        lines[:, self._places] = cells.reshape(len(rows), -1)
        undefined: Any = np.isnan(rows.values)
        has_undefined = undefined.any(axis=1).tolist()
        guards = zip(rows.event_times.tolist(), rows.created_times.tolist(), strict=True)
        held, mode = self._guard_field, argument(mode)
        stored = time_cells(rows.event_times)
        times = {cell: self._times(cell) for cell in set(stored)}
        return [
            b"".join(
                (
                    self._head,
                    self._key(symbol),
                    held,
                    argument(guard(*own, sequence)),
                    mode,
                    self._cells(cells[row], undefined[row]) if has_undefined[row] else lines[row].tobytes(),
                    times[stored[row]],
                )
            )
            for row, (symbol, own) in enumerate(zip(rows.symbols, guards, strict=True))
        ]

    def _cells(self, cells: NDArray[np.uint8], undefined: NDArray[np.bool_]) -> bytes:
        values = zip(self._fields, cells, undefined.tolist(), strict=True)
        return b"".join([name + argument(b"" if none else cell.tobytes()) for name, cell, none in values])

    def _times(self, cell: bytes) -> bytes:
        value = argument(cell)
        return b"".join([name + value for name in self._time_fields])

    def _key(self, symbol: str) -> bytes:
        key = self._keys.get(symbol)
        if key is None:
            if len(self._keys) >= _MAX_KEYS:
                self._keys.clear()
            key = self._keys[symbol] = argument(self._layout.key(symbol))
        return key


def command_of(script: bytes, key: bytes, *arguments: bytes) -> bytes:
    """Returns the command that runs a script on one key."""
    return command(b"EVALSHA", script_name(script), b"1", key, *arguments)
