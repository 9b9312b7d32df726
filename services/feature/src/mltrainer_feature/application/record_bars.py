"""Stores bars with everything that follows from them, in one transaction."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

import polars as pl

from mltrainer_feature.application.ports import (
    AffectedRange,
    Clock,
    OnlineRows,
    UnitOfWork,
    UnitOfWorkFactory,
)
from mltrainer_feature.domain.bars import Bars, Refusal, split_known_bars, split_new_bars
from mltrainer_feature.domain.rows import Rows, compute_rows, newest_rows
from mltrainer_feature.domain.views import (
    FeaturesMaterialized,
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

    def __init__(self, unit_of_work: UnitOfWorkFactory, online: OnlineRows, market_clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._online = online
        self._market_clock = market_clock

    async def __call__(self, received: ReceivedBars) -> RecordedBars:
        now = self._market_clock.now()
        async with self._unit_of_work() as uow:
            claimed = await uow.inbox.claim_all(received.event_ids)
            is_new = pl.Series([event_id in claimed for event_id in received.event_ids], dtype=pl.Boolean)
            usable, refusals = split_new_bars(received.bars.filter(is_new), now + CLOCK_TOLERANCE)
            recorded = await store_bars(uow, usable)
            refusals += recorded.refusals
            await uow.bars.quarantine(refusals, "events", now)
            await uow.commit()
        await self._online.refresh()
        return RecordedBars(recorded.accepted_count, tuple(refusals))


async def store_bars(uow: UnitOfWork, usable: Bars) -> RecordedBars:
    """Stores bars, the rows they change, offline and online, and the events that tell so."""
    state = await uow.store.load()
    assert state is not None
    known = await uow.bars.known(usable)
    fresh, conflicts = split_known_bars(usable, known)
    if fresh.is_empty():
        return RecordedBars(0, tuple(conflicts))
    restated_count = fresh.join(known, on=["symbol", "event_time"], how="semi").height
    changes_published = changes_published_rows(state, fresh, restated_count)
    views = tuple(advance(view, changes_published=changes_published) for view in state.views)
    await uow.bars.add(fresh)
    affected = await uow.bars.affected_range(fresh)
    rows = await write_rows(uow, affected, state.decision_delay, views[0].log_revision)
    latest_time = max(rows["event_time"].to_list(), default=affected.rows.until)
    newest = max(latest_time, state.latest_event_time or latest_time)
    await uow.store.save(replace(state, views=views, latest_event_time=newest))
    for view in views:
        uow.outbox.add(FeaturesMaterialized(view, rows.height, latest_time))
        if changes_published:
            uow.outbox.add(ViewRevised(view))
    return RecordedBars(fresh.height, tuple(conflicts))


async def write_rows(
    uow: UnitOfWork, affected: AffectedRange, decision_delay: timedelta, log_revision: int
) -> Rows:
    """Computes the rows of a range again from the stored bars, and makes them readable."""
    bars = await uow.bars.closes(affected.look_back_since, affected.rows.until)
    rows = await asyncio.to_thread(compute_rows, bars, affected.rows, decision_delay)
    await uow.rows.replace(affected.rows, rows)
    await uow.rows.publish_online(newest_rows(rows), log_revision)
    return rows
