"""Keeps feature rows in SQL: offline in blocks of one event time, online one row per symbol."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from mltrainer_common.database import upsert
from sqlalchemy import Select, delete, func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_feature.adapters.frames import (
    from_microseconds,
    pack_features,
    read_blocks,
    row_blocks,
    to_microseconds,
)
from mltrainer_feature.adapters.tables import online_row, row_block
from mltrainer_feature.application.ports import RowStatistics
from mltrainer_feature.domain.bar_grid import integers
from mltrainer_feature.domain.online import OnlineRow
from mltrainer_feature.domain.rows import ROW_SCHEMA, EventRange, Rows

_BLOCKS_AT_ONCE = 500
# More than so many would hold other tasks of the event loop up.
_ROWS_AT_ONCE = 2_000
_SYMBOLS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class SqlRowRepository:
    """Implements `RowRepository`."""

    connection: AsyncConnection

    async def replace(self, wanted: EventRange, rows: Rows) -> None:
        """Makes these the only rows of a range of event times."""
        since, until = to_microseconds(wanted.since), to_microseconds(wanted.until)
        await self.connection.execute(delete(row_block).where(row_block.c.event_time.between(since, until)))
        few = rows.height <= _ROWS_AT_ONCE
        blocks = list(row_blocks(rows)) if few else await asyncio.to_thread(lambda: list(row_blocks(rows)))
        for batch in _batches(blocks, _BLOCKS_AT_ONCE):
            await self.connection.execute(insert(row_block), batch)

    async def clear(self) -> None:
        """Forgets every row, offline and online."""
        await self.connection.execute(delete(row_block))
        await self.connection.execute(delete(online_row))

    async def publish_online(self, rows: Rows, log_revision: int) -> None:
        """Makes rows readable online unless a newer one is: by event time, then created time."""
        if rows.is_empty():
            return
        times = (integers(rows[name]).tolist() for name in ("event_time", "created_time"))
        records = [
            {
                "symbol": symbol,
                "event_time": event_time,
                "created_time": created_time,
                "log_revision": log_revision,
                "features": features.tobytes(),
            }
            for symbol, event_time, created_time, features in zip(
                rows["symbol"].to_list(), *times, pack_features(rows), strict=True
            )
        ]
        statement = upsert(self.connection, online_row)
        new = statement.excluded
        # Equal times replace: a transaction computes from every bar stored before it.
        is_newer = tuple_(new.event_time, new.created_time) >= tuple_(
            online_row.c.event_time, online_row.c.created_time
        )
        changed = {name: new[name] for name in ("event_time", "created_time", "log_revision", "features")}
        await self.connection.execute(
            statement.on_conflict_do_update(index_elements=["symbol"], set_=changed, where=is_newer), records
        )

    async def online_rows(self, after_log_revision: int) -> tuple[list[OnlineRow], int]:
        """Returns the online rows written after a revision, and the revision reached."""
        query = select(online_row).where(online_row.c.log_revision > after_log_revision)
        records = (await self.connection.execute(query)).all()
        rows = [
            OnlineRow(
                record.symbol,
                from_microseconds(record.event_time),
                from_microseconds(record.created_time),
                tuple(np.frombuffer(record.features, dtype=np.float64).tolist()),
            )
            for record in records
        ]
        return rows, max((record.log_revision for record in records), default=after_log_revision)

    async def known_symbols(self, symbols: Sequence[str]) -> set[str]:
        """Returns those of the symbols that have a row."""
        found: set[str] = set()
        for batch in _batches(list(symbols), _SYMBOLS_AT_ONCE):
            query = select(online_row.c.symbol).where(online_row.c.symbol.in_(batch))
            found.update((await self.connection.execute(query)).scalars())
        return found

    async def decided_rows(
        self, symbols: Sequence[str], start: datetime | None, as_of: datetime, decision_delay: timedelta
    ) -> Rows:
        """Returns the decided rows of symbols that were known at a time."""
        delay = decision_delay // timedelta(microseconds=1)
        query = _known_at(as_of, start).where(
            row_block.c.created_time <= row_block.c.event_time + delay,
        )
        blocks = (await self.connection.execute(query)).all()
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
            blocks = (await self.connection.execute(query.limit(_BLOCKS_AT_ONCE))).all()
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
        count, latest = (await self.connection.execute(query)).one()
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


def _batches(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
