"""Keeps feature rows in SQL: offline in blocks of one event time, online one row per symbol."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from mltrainer_common.database import DatabaseDialect
from sqlalchemy import Select, bindparam, delete, func, insert, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from mltrainer_feature.adapters.frames import (
    from_microseconds,
    read_blocks,
    row_blocks,
    to_microseconds,
)
from mltrainer_feature.adapters.sql_session import SqlSession
from mltrainer_feature.adapters.tables import online_row, row_block
from mltrainer_feature.application.ports import RowStatistics
from mltrainer_feature.domain.rows import FEATURE_NAMES, ROW_SCHEMA, EventRange, RowMatrix, Rows

_BLOCKS_AT_ONCE = 500
# More than so many would hold other tasks of the event loop up.
_ROWS_AT_ONCE = 2_000
_SYMBOLS_AT_ONCE = 500
_DELETE_RANGE = delete(row_block).where(
    row_block.c.event_time.between(bindparam("since"), bindparam("until"))
)
_INSERT_BLOCK = insert(row_block)


def _publish(product: Any) -> Any:
    statement = product.insert(online_row)
    new = statement.excluded
    # Equal times replace: a transaction computes from every bar stored before it.
    is_newer = tuple_(new.event_time, new.created_time) >= tuple_(
        online_row.c.event_time, online_row.c.created_time
    )
    changed = {name: new[name] for name in ("event_time", "created_time", "log_revision", "features")}
    return statement.on_conflict_do_update(index_elements=["symbol"], set_=changed, where=is_newer)


_PUBLISH = {
    DatabaseDialect.SQLITE.value: _publish(sqlite),
    DatabaseDialect.POSTGRESQL.value: _publish(postgresql),
}


@dataclass(frozen=True, slots=True)
class SqlRowRepository:
    """Implements `RowRepository`."""

    session: SqlSession

    async def replace(self, wanted: EventRange, rows: RowMatrix) -> None:
        """Makes these the only rows of a range of event times."""
        since, until = to_microseconds(wanted.since), to_microseconds(wanted.until)
        self.session.write(_DELETE_RANGE, {"since": since, "until": until})
        few = len(rows) <= _ROWS_AT_ONCE
        blocks = list(row_blocks(rows)) if few else await asyncio.to_thread(lambda: list(row_blocks(rows)))
        for batch in _batches(blocks, _BLOCKS_AT_ONCE):
            self.session.write(_INSERT_BLOCK, *batch)
            if len(batch) == _BLOCKS_AT_ONCE:
                await self.session.flush()

    async def clear(self) -> None:
        """Forgets every row, offline and online."""
        await self.session.execute(delete(row_block))
        await self.session.execute(delete(online_row))

    async def publish_online(self, rows: RowMatrix, log_revision: int) -> None:
        """Makes rows readable online unless a newer one is: by event time, then created time."""
        times = rows.event_times.tolist(), rows.created_times.tolist()
        records = [
            {
                "symbol": symbol,
                "event_time": event_time,
                "created_time": created_time,
                "log_revision": log_revision,
                "features": features.tobytes(),
            }
            for symbol, event_time, created_time, features in zip(
                rows.symbols, *times, rows.values, strict=True
            )
        ]
        self.session.write(_PUBLISH[self.session.connection.dialect.name], *records)

    async def online_rows(self, after_log_revision: int) -> tuple[RowMatrix, int]:
        """Returns the online rows written after a revision, and the revision reached."""
        query = select(online_row).where(online_row.c.log_revision > after_log_revision)
        records = (await self.session.execute(query)).all()
        values = np.frombuffer(b"".join(record.features for record in records), dtype=np.float64)
        rows = RowMatrix(
            np.array([record.event_time for record in records], dtype=np.int64),
            np.array([record.created_time for record in records], dtype=np.int64),
            tuple(record.symbol for record in records),
            values.reshape(-1, len(FEATURE_NAMES)),
        )
        return rows, max((record.log_revision for record in records), default=after_log_revision)

    async def known_symbols(self, symbols: Sequence[str]) -> set[str]:
        """Returns those of the symbols that have a row."""
        found: set[str] = set()
        for batch in _batches(list(symbols), _SYMBOLS_AT_ONCE):
            query = select(online_row.c.symbol).where(online_row.c.symbol.in_(batch))
            found.update((await self.session.execute(query)).scalars())
        return found

    async def decided_counts(
        self, start: datetime | None, as_of: datetime, decision_delay: timedelta
    ) -> list[tuple[datetime, int]]:
        """Counts the decided rows of all symbols that were known at a time, by event time, in order."""
        event_time = row_block.c.event_time
        query = _decided(select(event_time, func.sum(row_block.c.row_count)), as_of, decision_delay)
        if start is not None:
            query = query.where(event_time >= to_microseconds(start))
        found = await self.session.execute(query.group_by(event_time).order_by(event_time))
        return [(from_microseconds(moment), int(count)) for moment, count in found]

    async def decided_rows(
        self, symbols: Sequence[str], wanted: EventRange, as_of: datetime, decision_delay: timedelta
    ) -> Rows:
        """Returns the decided rows of symbols in a range of event times that were known at a time."""
        query = _decided(_known_at(as_of, wanted.since), as_of, decision_delay)
        query = query.where(row_block.c.event_time <= to_microseconds(wanted.until))
        blocks = (await self.session.execute(query)).all()
        return await asyncio.to_thread(read_blocks, blocks, symbols)

    async def rows_known_at(
        self, symbol: str, start: datetime | None, after: datetime | None, as_of: datetime, limit: int
    ) -> Rows:
        """Returns rows of a symbol as known at a time, in the order of event time, at most `limit`."""
        found = pl.DataFrame(schema=ROW_SCHEMA)
        while found.height < limit:
            query = _known_at(as_of, start)
            if after is not None:
                query = query.where(row_block.c.event_time > to_microseconds(after))
            blocks = (await self.session.execute(query.limit(_BLOCKS_AT_ONCE))).all()
            is_last = len(blocks) < _BLOCKS_AT_ONCE
            # The versions of the last event time may go on behind the limit.
            whole = blocks if is_last else [block for block in blocks if block[0] != blocks[-1][0]]
            rows = await asyncio.to_thread(read_blocks, whole or blocks, [symbol])
            found = pl.concat([found, rows.unique("event_time", keep="last").sort("event_time")])
            if is_last:
                break
            after = from_microseconds((whole or blocks)[-1][0])
        return found.head(limit)

    async def statistics(self) -> RowStatistics:
        """Counts the stored rows."""
        query = select(func.coalesce(func.sum(row_block.c.row_count), 0), func.max(row_block.c.event_time))
        count, latest = (await self.session.execute(query)).one()
        return RowStatistics(int(count), None if latest is None else from_microseconds(latest))


def _known_at(as_of: datetime, start: datetime | None) -> Select[Any]:
    names = ("event_time", "created_time", "row_count", "symbols", "features")
    known = to_microseconds(as_of)
    query = select(*(row_block.c[name] for name in names)).where(
        row_block.c.created_time <= known, row_block.c.event_time <= known
    )
    if start is not None:
        query = query.where(row_block.c.event_time >= to_microseconds(start))
    return query.order_by(row_block.c.event_time, row_block.c.created_time)


def _decided(query: Select[Any], as_of: datetime, decision_delay: timedelta) -> Select[Any]:
    known, delay = to_microseconds(as_of), decision_delay // timedelta(microseconds=1)
    created_time, event_time = row_block.c.created_time, row_block.c.event_time
    return query.where(created_time <= known, event_time <= known, created_time <= event_time + delay)


def _batches(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
