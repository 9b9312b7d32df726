"""Keeps bars in SQL."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import polars as pl
from mltrainer_features import MAX_LOOK_BACK_BARS
from sqlalchemy import ColumnElement, Select, delete, func, insert, select, true

from mltrainer_feature.adapters.frames import bar_records, from_microseconds, read_bars, to_microseconds
from mltrainer_feature.adapters.sql_session import SqlSession
from mltrainer_feature.adapters.tables import bar, online_row, price_basis, quarantined_bar
from mltrainer_feature.application.ports import AffectedRange
from mltrainer_feature.domain.bars import BAR_SCHEMA, Bars, KeptRefusal, Refusal
from mltrainer_feature.domain.live_window import RECENT
from mltrainer_feature.domain.rows import EventRange

# Between two batches of a long insert other tasks of the event loop have their turn.
_INSERT_BATCH = 5_000
_SYMBOLS_AT_ONCE = 500
_INSERT = insert(bar)
_INSERT_BASIS = insert(price_basis)
_CLOSE_COLUMNS = ("symbol", "event_time", "knowledge_time", "close")


@dataclass(frozen=True, slots=True)
class SqlBarRepository:
    """Implements `BarRepository`."""

    session: SqlSession

    async def known(self, bars: Bars) -> Bars:
        """Returns stored bars, among them all with the symbol and event time of a given bar."""
        if bars.is_empty():
            return bars.clear()
        event_time = bars.select(first=pl.col("event_time").min(), last=pl.col("event_time").max()).row(0)
        query = _between(select(*(bar.c[name] for name in BAR_SCHEMA)), *event_time)
        symbols = bars["symbol"].unique().to_list()
        if len(symbols) <= _SYMBOLS_AT_ONCE:
            query = query.where(bar.c.symbol.in_(symbols))
        return read_bars(list(BAR_SCHEMA), (await self.session.execute(query)).all(), BAR_SCHEMA)

    async def add(self, bars: Bars) -> None:
        """Stores bars whose keys are new."""
        for batch in bars.iter_slices(_INSERT_BATCH):
            self.session.write(_INSERT, *bar_records(batch))
            if batch.height == _INSERT_BATCH:
                await self.session.flush()

    async def quarantine(self, refusals: Sequence[Refusal], source: str, now: datetime) -> None:
        """Keeps refused bars with their reasons."""
        for start in range(0, len(refusals), _INSERT_BATCH):
            records = [_record(refusal, source, now) for refusal in refusals[start : start + _INSERT_BATCH]]
            await self.session.execute(insert(quarantined_bar), records)

    async def refused(
        self, before: int | None, limit: int, symbol: str = "", reason: str = ""
    ) -> list[KeptRefusal]:
        """Returns refused bars, newest first, below a number; of one symbol and reason where given."""
        kept = quarantined_bar.c
        query = select(quarantined_bar).order_by(kept.id.desc()).limit(limit)
        if before is not None:
            query = query.where(kept.id < before)
        if symbol:
            query = query.where(kept.symbol == symbol)
        if reason:
            query = query.where(kept.reason == reason)
        return [_kept(record) for record in await self.session.execute(query)]

    async def refused_by_number(self, numbers: Sequence[int]) -> list[KeptRefusal]:
        """Returns those refused bars of the numbers that are kept."""
        query = select(quarantined_bar).where(quarantined_bar.c.id.in_(numbers))
        records = await self.session.execute(query.order_by(quarantined_bar.c.id))
        return [_kept(record) for record in records]

    async def forget_refused(self, numbers: Sequence[int]) -> None:
        """Takes refused bars from the list."""
        await self.session.execute(delete(quarantined_bar).where(quarantined_bar.c.id.in_(numbers)))

    async def price_bases(self, symbols: Sequence[str]) -> dict[str, bool]:
        """Tells of those of the symbols that have bars whether their prices are adjusted."""
        bases: dict[str, bool] = {}
        for batch in _batches(symbols):
            query = select(price_basis).where(price_basis.c.symbol.in_(batch))
            bases |= {one.symbol: one.adjusted for one in await self.session.execute(query)}
        return bases

    async def add_price_bases(self, bases: Mapping[str, bool]) -> None:
        """Notes of symbols without bars whether their prices are adjusted, for good."""
        records = [{"symbol": symbol, "adjusted": adjusted} for symbol, adjusted in bases.items()]
        self.session.write(_INSERT_BASIS, *records)

    async def newest_event_time(self, as_of: datetime) -> datetime | None:
        """Returns the event time of the newest bar that was known at a time."""
        moment = to_microseconds(as_of)
        query = select(bar.c.event_time).where(bar.c.event_time <= moment, bar.c.knowledge_time <= moment)
        query = query.order_by(bar.c.event_time.desc()).limit(1)
        newest = (await self.session.execute(query)).scalar_one_or_none()
        return None if newest is None else from_microseconds(newest)

    async def affected_range(self, bars: Bars) -> AffectedRange:
        """Finds the rows that stored bars may change through windows of any length."""
        since: datetime = bars["event_time"].min()  # type: ignore[assignment]  # a time column's minimum
        last: datetime = bars["event_time"].max()  # type: ignore[assignment]  # a time column's maximum
        symbols = bars["symbol"].unique().to_list()
        until = await self._farthest(last, online_row.c.event_time > to_microseconds(last), ahead=True)
        traded = online_row.c.event_time >= to_microseconds(since - RECENT)
        if len(symbols) <= _SYMBOLS_AT_ONCE:
            # One that comes back after a long time needs its own old bars.
            traded |= online_row.c.symbol.in_(symbols)
        else:
            traded = true()
        return AffectedRange(EventRange(since, until), await self._farthest(since, traded, ahead=False))

    async def whole_range(self) -> AffectedRange | None:
        """Returns the range of all bars; None where there is none."""
        query = select(func.min(bar.c.event_time), func.max(bar.c.event_time))
        first, last = (await self.session.execute(query)).one()
        if first is None:
            return None
        since, until = from_microseconds(first), from_microseconds(last)
        return AffectedRange(EventRange(since, until), since)

    async def closes(self, since: datetime, until: datetime) -> Bars:
        """Returns keys and closes of the bars in a range of event times."""
        return await self._closes(_between(_select_closes(), since, until))

    async def closes_of(self, symbols: Sequence[str], as_of: datetime) -> Bars:
        """Returns keys and closes of the bars of symbols that were known at a time."""
        known = _select_closes().where(bar.c.knowledge_time <= to_microseconds(as_of))
        return pl.concat(
            [await self._closes(known.where(bar.c.symbol.in_(batch))) for batch in _batches(symbols)]
        )

    async def _closes(self, query: Select[Any]) -> Bars:
        return read_bars(_CLOSE_COLUMNS, (await self.session.execute(query)).all(), BAR_SCHEMA)

    async def _farthest(self, moment: datetime, traded: ColumnElement[bool], *, ahead: bool) -> datetime:
        """Goes the longest window away in each symbol's own bars; returns the farthest bar met."""
        own = bar.alias("own")
        start = to_microseconds(moment)
        distinct = select(own.c.event_time).where(own.c.symbol == online_row.c.symbol).correlate(online_row)
        if ahead:
            near = distinct.where(own.c.event_time > start).order_by(own.c.event_time)
        else:
            near = distinct.where(own.c.event_time < start).order_by(own.c.event_time.desc())
        window = near.distinct().limit(MAX_LOOK_BACK_BARS).subquery()
        pick = func.max if ahead else func.min
        farthest = select(pick(window.c.event_time)).correlate(online_row).scalar_subquery()
        met = (await self.session.execute(select(pick(farthest)).where(traded))).scalar_one_or_none()
        return moment if met is None else from_microseconds(met)


def _batches(symbols: Sequence[str]) -> Iterator[Sequence[str]]:
    return (symbols[start : start + _SYMBOLS_AT_ONCE] for start in range(0, len(symbols), _SYMBOLS_AT_ONCE))


def _select_closes() -> Select[Any]:
    return select(*(bar.c[name] for name in _CLOSE_COLUMNS))


def _between(query: Select[Any], since: datetime, until: datetime) -> Select[Any]:
    return query.where(bar.c.event_time.between(to_microseconds(since), to_microseconds(until)))


def _record(refusal: Refusal, source: str, now: datetime) -> dict[str, object]:
    times = {"event_time": refusal.event_time, "knowledge_time": refusal.knowledge_time}
    counts = {name: None if moment is None else to_microseconds(moment) for name, moment in times.items()}
    return {**asdict(refusal), **counts, "source": source, "create_time": now}


def _kept(record: Any) -> KeptRefusal:
    facts = {field.name: getattr(record, field.name) for field in fields(Refusal)}
    times = {
        name: None if facts[name] is None else from_microseconds(facts[name])
        for name in ("event_time", "knowledge_time")
    }
    return KeptRefusal(record.id, record.source, record.create_time, Refusal(**{**facts, **times}))
