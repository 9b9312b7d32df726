"""Spot availability from reports of nodes to previews, through the database and a restart."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_scheduler.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_scheduler.domain.cluster import NodeReport, offered
from mltrainer_scheduler.domain.facts import Duration
from mltrainer_scheduler.domain.specification import Budget
from mltrainer_scheduler.domain.spot_history import MOST_RUNS, TICK, Pool, SpotRun
from mltrainer_scheduler.wire.events import to_message

LOOKS = 60
WORK_S = 3_600.0


def _process(database: Database) -> SqlUnitOfWorkFactory:
    transactions = EventTransactions(database, "scheduler", OutboxSignal(), encode=to_message)
    return SqlUnitOfWorkFactory(database, transactions)


async def _watched(scheduler: Any, *, flaps: bool) -> None:
    await scheduler.ready(cpus=0.0, node="nodes/none")
    async with scheduler.unit_of_work() as uow:
        for _ in range(6):
            await uow.planning.add_duration(Duration("study", 0.0, WORK_S))
        await uow.commit()
    for look in range(LOOKS):
        scheduler.clock.advance(TICK.total_seconds())
        now = scheduler.clock.now()
        is_there = not flaps or (LOOKS - 1 - look) // 4 % 2 == 0
        node = NodeReport("nodes/s", offered(4.0, 8 << 30, 0.0), "", is_there, True, "z1", look + 1, now)  # noqa: FBT003
        await scheduler.replicate.nodes([node])
        async with scheduler.unit_of_work.view() as view:
            await scheduler.planner.follow(view.planning, now)
        await scheduler.watch_spot()


async def _previewed_after_restart(url: str, make_scheduler: Any, seeded: Any, *, flaps: bool) -> Any:
    await migrate(url, "mltrainer_scheduler.adapters.migrations")
    async with open_database(url) as database:
        scheduler = make_scheduler(unit_of_work=_process(database))
        await _watched(scheduler, flaps=flaps)
    async with open_database(url) as database:
        restarted = make_scheduler(unit_of_work=_process(database))
        restarted.clock.time = scheduler.clock.time
        deadline_time = restarted.clock.now() + timedelta(hours=4)
        return await restarted.preview(seeded(1, budget=Budget(deadline_time=deadline_time)))


async def test_a_preview_after_a_restart_learns_from_what_was_watched_before(
    tmp_path: Path, make_scheduler: Any, seeded: Any
) -> None:
    steady = await _previewed_after_restart(
        f"sqlite:///{tmp_path}/steady.db", make_scheduler, seeded, flaps=False
    )
    flapping = await _previewed_after_restart(
        f"sqlite:///{tmp_path}/flapping.db", make_scheduler, seeded, flaps=True
    )

    assert "(spot was there in 100% of 1.0 h watched)" in steady.message
    assert "(spot was there in 53% of 1.0 h watched)" in flapping.message
    assert flapping.expected_cost_usd > steady.expected_cost_usd


async def test_the_table_is_bounded_by_number_and_age(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/scheduler.db"
    await migrate(url, "mltrainer_scheduler.adapters.migrations")
    pool, other, start = Pool("z1", ""), Pool("z2", ""), datetime(2026, 1, 1, tzinfo=UTC)
    times = [start + number * TICK for number in range(MOST_RUNS + 9)]
    many = [SpotRun(pool, time, time, number % 2 == 0) for number, time in enumerate(times)]
    old = SpotRun(other, start, start, available=True)
    new = SpotRun(other, times[-1], times[-1], available=False)

    async with open_database(url) as database, _process(database)() as uow:
        await uow.planning.keep_spot_runs([old, *many[:-1]], start)
        await uow.planning.keep_spot_runs([many[-1], new], start + TICK)
        kept = await uow.planning.spot_runs({pool, other})
        last = await uow.planning.last_spot_runs()

    assert [run for run in kept if run.pool == pool] == many[-MOST_RUNS:]
    assert [run for run in kept if run.pool == other] == [new]
    assert sorted(last, key=lambda run: run.pool) == [many[-1], new]


async def test_a_zone_with_a_character_that_no_database_stores_is_kept_without_it(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/scheduler.db"
    await migrate(url, "mltrainer_scheduler.adapters.migrations")
    time = datetime(2026, 1, 1, tzinfo=UTC)

    async with open_database(url) as database, _process(database)() as uow:
        await uow.planning.keep_spot_runs([SpotRun(Pool("z\x00", ""), time, time, available=True)], time)
        last = await uow.planning.last_spot_runs()

    assert last == [SpotRun(Pool("z\ufffd", ""), time, time, available=True)]
