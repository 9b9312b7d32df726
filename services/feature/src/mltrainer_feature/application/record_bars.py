"""Stores bars with everything that follows from them, in one transaction."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from mltrainer_feature.application.ports import (
    AffectedRange,
    Clock,
    OnlineRows,
    UnitOfWork,
    UnitOfWorkFactory,
)
from mltrainer_feature.domain.bars import (
    Bars,
    Refusal,
    first_bases,
    split_known_bars,
    split_mixed_bars,
    split_new_bars,
)
from mltrainer_feature.domain.exchanges import ALL_OPEN, Exchanges
from mltrainer_feature.domain.live_window import LiveRows, LiveWindow
from mltrainer_feature.domain.rows import EventRange, RowMatrix, Rows, compute_rows, newest_rows
from mltrainer_feature.domain.views import (
    FeaturesMaterialized,
    StoreState,
    ViewRevised,
    advance,
    changes_published_rows,
)

# A data source may run a little ahead of this process's market clock; a bar further ahead is a mistake.
CLOCK_TOLERANCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ReceivedBars:
    """Bars as events brought them: one row per event id."""

    event_ids: tuple[str, ...]
    bars: Bars


@dataclass(frozen=True, slots=True)
class RecordedBars:
    """What became of bars."""

    accepted_count: int
    refusals: tuple[Refusal, ...]


class RecordBarsHandler:
    """Takes bars from events; repeated, reordered and restated ones end in the same rows."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        online: OnlineRows,
        market_clock: Clock,
        exchanges: Exchanges = ALL_OPEN,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._online = online
        self._market_clock = market_clock
        self._exchanges = exchanges
        self._window: LiveWindow | None = None
        self._bases: dict[str, bool] = {}

    async def __call__(self, received: ReceivedBars) -> RecordedBars:
        now = self._market_clock.now()
        async with self._unit_of_work() as uow:
            claimed = await uow.inbox.claim_all(received.event_ids)
            is_new = pl.Series([event_id in claimed for event_id in received.event_ids], dtype=pl.Boolean)
            sound, refusals = split_new_bars(received.bars.filter(is_new), now + CLOCK_TOLERANCE)
            usable, untimely = self._exchanges.split(sound)
            stored = await store_bars(uow, usable, self._window, self._bases)
            refusals += [*untimely, *stored.recorded.refusals]
            await uow.bars.quarantine(refusals, "events", now)
            await uow.commit()
        self._window = stored.window
        if stored.window is None or stored.newest is None:
            await self._online.refresh()
        else:
            await self._online.take(stored.newest, stored.window.log_revision)
        return RecordedBars(stored.recorded.accepted_count, tuple(refusals))


@dataclass(frozen=True, slots=True)
class StoredBars:
    """What became of bars, and the window that the next ones may go on from once this is committed.

    `newest` are the rows of the window's revision that are to be read online, where the window decided them.
    """

    recorded: RecordedBars
    window: LiveWindow | None
    newest: RowMatrix | None = None


async def store_bars(
    uow: UnitOfWork, usable: Bars, window: LiveWindow | None = None, bases: dict[str, bool] | None = None
) -> StoredBars:
    """Stores bars, the rows they change, offline and online, and the events that tell so.

    `bases` remembers from call to call whether the prices of symbols are adjusted.
    """
    state = await uow.store.load()
    assert state is not None
    uniform, mixed = split_mixed_bars(usable, await _price_bases(uow, usable, {} if bases is None else bases))
    stored = await _store_uniform(uow, state, uniform, window)
    if not mixed:
        return stored
    recorded = replace(stored.recorded, refusals=(*mixed, *stored.recorded.refusals))
    return replace(stored, recorded=recorded)


async def _price_bases(uow: UnitOfWork, bars: Bars, remembered: dict[str, bool]) -> dict[str, bool]:
    symbols = set(bars["symbol"].to_list()).difference(remembered)
    if not symbols:
        return remembered
    # What is stored stands for good; what is new may be rolled back, so it is not remembered yet.
    remembered |= await uow.bars.price_bases(sorted(symbols))
    unknown = symbols.difference(remembered)
    if not unknown:
        return remembered
    bases = first_bases(bars.filter(pl.col("symbol").is_in(unknown)))
    await uow.bars.add_price_bases(bases)
    return remembered | bases


async def _store_uniform(
    uow: UnitOfWork, state: StoreState, usable: Bars, window: LiveWindow | None
) -> StoredBars:
    if usable.is_empty():
        return StoredBars(RecordedBars(0, ()), window)
    if window is not None and window.log_revision == state.views[0].log_revision:
        extended = window.extended(usable)
        if extended is not None:
            return await _store_decided(uow, state, usable, *extended)
    return await _store_any(uow, state, usable, window)


async def _store_decided(
    uow: UnitOfWork, state: StoreState, fresh: Bars, window: LiveWindow, live: LiveRows
) -> StoredBars:
    await uow.bars.add(fresh)
    await uow.rows.replace(live.wanted, live.rows)
    await uow.rows.publish_online(live.newest, window.log_revision)
    await _advance(uow, state, fresh, 0, _Written(len(live.rows), live.wanted.until))
    return StoredBars(RecordedBars(fresh.height, ()), window, live.newest)


async def _store_any(
    uow: UnitOfWork, state: StoreState, usable: Bars, window: LiveWindow | None
) -> StoredBars:
    known = await uow.bars.known(usable)
    fresh, conflicts = split_known_bars(usable, known)
    if fresh.is_empty():
        # Nothing was written, so a window that is good stays so.
        return StoredBars(RecordedBars(0, tuple(conflicts)), window)
    restated_count = fresh.join(known, on=["symbol", "event_time"], how="semi").height
    await uow.bars.add(fresh)
    affected = await uow.bars.affected_range(fresh)
    bars = await uow.bars.closes(affected.look_back_since, affected.rows.until)
    log_revision = state.views[0].log_revision + 1
    rows = await _write_rows(uow, bars, affected.rows, state.decision_delay, log_revision)
    latest_time = max(rows["event_time"].to_list(), default=affected.rows.until)
    await _advance(uow, state, fresh, restated_count, _Written(rows.height, latest_time))
    window = await asyncio.to_thread(
        LiveWindow.load, bars, affected.rows.since, state.decision_delay, log_revision
    )
    return StoredBars(RecordedBars(fresh.height, tuple(conflicts)), window)


@dataclass(frozen=True, slots=True)
class _Written:
    row_count: int
    latest_time: datetime


async def _advance(
    uow: UnitOfWork, state: StoreState, fresh: Bars, restated_count: int, written: _Written
) -> None:
    changes_published = changes_published_rows(state, fresh, restated_count)
    views = tuple(advance(view, changes_published=changes_published) for view in state.views)
    newest = max(written.latest_time, state.latest_event_time or written.latest_time)
    await uow.store.save(replace(state, views=views, latest_event_time=newest))
    for view in views:
        uow.outbox.add(FeaturesMaterialized(view, written.row_count, written.latest_time))
        if changes_published:
            uow.outbox.add(ViewRevised(view))


async def write_rows(
    uow: UnitOfWork, affected: AffectedRange, decision_delay: timedelta, log_revision: int
) -> None:
    """Computes the rows of a range again from the stored bars, and makes them readable."""
    bars = await uow.bars.closes(affected.look_back_since, affected.rows.until)
    await _write_rows(uow, bars, affected.rows, decision_delay, log_revision)


async def _write_rows(
    uow: UnitOfWork, bars: Bars, wanted: EventRange, decision_delay: timedelta, log_revision: int
) -> Rows:
    rows = await asyncio.to_thread(compute_rows, bars, wanted, decision_delay)
    await uow.rows.replace(wanted, RowMatrix.of(rows))
    await uow.rows.publish_online(RowMatrix.of(newest_rows(rows)), log_revision)
    return rows
