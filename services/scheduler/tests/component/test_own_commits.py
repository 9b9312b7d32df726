"""What a process knows from its own commits is what it would read from the database."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_scheduler.adapters.planning_repository import SqlPlanningRepository
from mltrainer_scheduler.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_scheduler.domain.cluster import NodeReport, offered
from mltrainer_scheduler.domain.cluster_state import ClusterState
from mltrainer_scheduler.domain.specification import Resources
from mltrainer_scheduler.domain.training import SchedulingPolicy
from mltrainer_scheduler.wire.events import to_message
from mltrainer_scheduling.quotas import Queue

STEPS = 25


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path}/scheduler.db"
    await migrate(url, "mltrainer_scheduler.adapters.migrations")
    async with open_database(url) as opened:
        yield opened


def _process(database: Database) -> SqlUnitOfWorkFactory:
    transactions = EventTransactions(database, "scheduler", OutboxSignal(), encode=to_message)
    return SqlUnitOfWorkFactory(database, transactions)


def _shown(state: ClusterState) -> dict[str, Any]:
    """Returns all that a plan could see, in an order of its own."""
    history = state.history
    return {
        "facts": {
            name: replace(fact, begin_s=np.nan_to_num(fact.begin_s)) for name, fact in state.facts.items()
        },
        "untold": set(state.untold),
        "nodes": state.nodes,
        "queues": state.queues,
        "past": state.past,
        "history": (history.wall_s.tolist(), history.submit_s.tolist(), history.group),
        "knowledge": state.knowledge,
        "revision": state.revision,
    }


async def _step(scheduler: Any, seeded: Any, rng: random.Random, number: int) -> None:
    placed = [fact for fact in scheduler.planner.state.facts.values() if not fact.is_queued]
    scheduler.clock.advance(rng.choice([0.0, 1.0, 7.0]))
    match rng.choice(["ask", "ask", "ask", "end", "end", "fail", "node", "queues", "cancel", "lapse"]):
        case "ask":
            resources = Resources(cpus=1.0, gang_workers=rng.randint(1, 3), checkpoint_interval_s=5.0)
            spec = seeded(number, queue=rng.choice("ab"), resources=resources, priority=rng.randint(0, 1))
            await scheduler.request(f"r{number}", spec)
        case "end" | "fail" | "cancel" as outcome if placed:
            training = await scheduler.browse.training(rng.choice(placed).name)
            if outcome == "end":
                await scheduler.succeed(training)
            elif outcome == "fail":
                await scheduler.fail(training, retryable=rng.random() < 0.5)
            else:
                await scheduler.cancel(training.name)
        case "node":
            now = scheduler.clock.now()
            total = offered(float(rng.randint(2, 6)), 8 << 30, 0.0)
            report = NodeReport("nodes/a", total, "", True, False, "", number + 10_000, now)  # noqa: FBT003
            await scheduler.replicate.nodes([report])
        case "queues":
            await scheduler.queues.set([Queue("a", weight=float(rng.randint(1, 3))), Queue("b")], None)
        case "lapse":
            scheduler.clock.advance(31.0)
            await scheduler.lapse()
        case _:
            pass


@pytest.mark.parametrize("seed", [1, 2])
async def test_following_own_commits_gives_what_reading_gives(
    database: Database, make_scheduler: Any, seeded: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    bounds = SchedulingPolicy(node_silence_s=timedelta(days=1).total_seconds())
    scheduler = make_scheduler(unit_of_work=_process(database), policy=bounds)
    await scheduler.ready(cpus=4.0)
    await scheduler.place()
    reads: list[int] = []
    read = SqlPlanningRepository._read

    async def noted(repository: SqlPlanningRepository, since: int, count: int) -> Any:
        reads.append(since)
        return await read(repository, since, count)

    monkeypatch.setattr(SqlPlanningRepository, "_read", noted)
    for number in range(STEPS):
        await _step(scheduler, seeded, rng, number)
        await scheduler.place()
    now = scheduler.clock.now()
    fresh = scheduler.fresh_planner()
    async with scheduler.unit_of_work.view() as view:
        await scheduler.planner.follow(view.planning, now)
        read_by_leader = list(reads)
        await fresh.follow(view.planning, now)

    assert read_by_leader == []
    assert _shown(scheduler.planner.state) == _shown(fresh.state)


async def test_what_another_process_committed_in_between_is_read(
    database: Database, make_scheduler: Any, seeded: Any
) -> None:
    leader, other = (make_scheduler(unit_of_work=_process(database)) for _ in range(2))
    other.accept = replace(other.accept, new_id=iter(f"x{number}" for number in range(99)).__next__)
    await leader.ready(cpus=4.0)
    await leader.request("r1", seeded(1))
    await leader.place()

    await other.request("r2", seeded(2), event_id="other")
    await leader.request("r3", seeded(3))
    done = await leader.place()

    assert {item.request_id for item in done.placed} == {"r2", "r3"}
