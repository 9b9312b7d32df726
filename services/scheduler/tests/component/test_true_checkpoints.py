"""Checkpoints in the database: another process hears of them, and a restart finds them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_scheduler.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_scheduler.domain.specification import Resources
from mltrainer_scheduler.wire.events import to_message


async def test_the_leader_and_a_restarted_one_see_a_checkpoint_that_another_process_heard_of(
    tmp_path: Path, make_scheduler: Any, seeded: Any
) -> None:
    url = f"sqlite:///{tmp_path}/scheduler.db"
    await migrate(url, "mltrainer_scheduler.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(database, "scheduler", OutboxSignal(), encode=to_message)
        leader = make_scheduler(unit_of_work=SqlUnitOfWorkFactory(database, transactions))
        other = make_scheduler(unit_of_work=SqlUnitOfWorkFactory(database, transactions))
        await leader.ready(cpus=4.0)
        await leader.request("r", seeded(1, resources=Resources(cpus=1.0, gang_workers=2)))
        (placed,) = (await leader.place()).placed
        for process in (leader, other):
            process.clock.advance(20.0)
        async with other.unit_of_work.view() as view:
            first = (await view.cluster.held_by(placed.name))[0]
        await other.record(first, first.start_time + timedelta(seconds=10.0))

        restarted = leader.fresh_planner()
        seen = []
        for planner in (leader.planner, restarted):
            async with leader.unit_of_work.view() as view:
                await planner.follow(view.planning, leader.clock.now())
            jobs = planner.snapshot(leader.clock.now()).jobs
            seen.append((jobs.job_id.tolist(), jobs.attained_s.tolist(), jobs.unsaved_s.tolist()))

    assert leader.planner.state.facts == restarted.state.facts
    assert seen == [([placed.name], [10.0], [10.0])] * 2
