"""The repositories on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mltrainer_chaos.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_chaos.application.ports import SwitchChange
from mltrainer_chaos.domain.run import (
    ChaosRun,
    Fault,
    FaultKind,
    Outcome,
    Phase,
    ProbeRecord,
    RunState,
    TargetProcess,
    Verdict,
    ended,
    started,
)
from mltrainer_chaos.wire.events import to_message
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.databases import create_postgres_database

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
RUN = ChaosRun("chaosRuns/r1", 1, "title", "{}", ("serving-0",), "users/sre", "why", NOW, request_id="q1")
FAULT = Fault(
    "f1",
    RUN.name,
    "pause",
    FaultKind.PAUSE,
    TargetProcess("serving-0", 7, "m"),
    NOW,
    NOW + timedelta(seconds=5),
)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
async def unit_of_work(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlUnitOfWorkFactory]:
    url = f"sqlite:///{tmp_path}/chaos.db"
    if request.param == "postgresql":
        url = await create_postgres_database(request.getfixturevalue("postgres_server_url"))
    await migrate(url, "mltrainer_chaos.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(database, "chaos", OutboxSignal(), encode=to_message)
        yield SqlUnitOfWorkFactory(database, transactions)


async def test_a_run_is_found_as_it_was_saved(unit_of_work: SqlUnitOfWorkFactory) -> None:
    finished = ended(started(RUN, NOW), Outcome(Verdict.PASSED, "held", 1.5), NOW, {"status": "completed"})
    async with unit_of_work() as uow:
        await uow.runs.add(RUN)
        await uow.runs.save(finished)
        await uow.commit()

    async with unit_of_work.view() as view:
        assert await view.runs.get(RUN.name) == finished
        assert await view.runs.of_request("q1") == finished
        assert await view.runs.in_states([RunState.FINISHED]) == [finished]
        assert await view.runs.in_states([RunState.PENDING]) == []
        assert await view.runs.get("chaosRuns/other") is None


async def test_pages_are_newest_first(unit_of_work: SqlUnitOfWorkFactory) -> None:
    async with unit_of_work() as uow:
        for number in range(1, 4):
            assert await uow.runs.next_ordinal() == number
            await uow.runs.add(replace(RUN, name=f"chaosRuns/r{number}", ordinal=number, request_id=""))
        await uow.commit()

    async with unit_of_work.view() as view:
        first = await view.runs.page(2, None)
        rest = await view.runs.page(2, first[-1].ordinal)

    assert [run.ordinal for run in (*first, *rest)] == [3, 2, 1]


async def test_what_is_not_committed_is_undone(unit_of_work: SqlUnitOfWorkFactory) -> None:
    async with unit_of_work() as uow:
        await uow.runs.add(RUN)

    async with unit_of_work.view() as view:
        assert await view.runs.get(RUN.name) is None


async def test_a_pause_lapses_when_its_lease_has_ended_and_is_reverted_once(
    unit_of_work: SqlUnitOfWorkFactory,
) -> None:
    kill = replace(FAULT, id="f2", kind=FaultKind.KILL)
    later = NOW + timedelta(seconds=9)
    async with unit_of_work() as uow:
        await uow.faults.add(FAULT)
        await uow.faults.add(kill)
        await uow.commit()
    async with unit_of_work.view() as view:
        early = await view.faults.lapsed(NOW + timedelta(seconds=4.9))
        due = await view.faults.lapsed(NOW + timedelta(seconds=5))

    async with unit_of_work() as uow:
        await uow.faults.mark_reverted("f1", later)
        await uow.faults.mark_reverted("f1", later + timedelta(seconds=1))
        await uow.commit()

    async with unit_of_work.view() as view:
        assert (early, due) == ([], [FAULT])
        assert await view.faults.of_run(RUN.name) == [replace(FAULT, revert_time=later), kill]
        assert await view.faults.lapsed(later) == []


async def test_only_the_last_thousand_probes_are_kept(unit_of_work: SqlUnitOfWorkFactory) -> None:
    records = [
        ProbeRecord("p", Phase.DURING, number % 2 == 0, str(number), 1.5, NOW + timedelta(seconds=number))
        for number in range(1_300)
    ]
    async with unit_of_work() as uow:
        await uow.probes.add("chaosRuns/r1", records[:700])
        await uow.probes.add("chaosRuns/r2", records[:1])
        await uow.probes.add("chaosRuns/r1", records[700:])
        await uow.commit()

    async with unit_of_work.view() as view:
        assert await view.probes.of_run("chaosRuns/r1") == records[300:]
        assert await view.probes.of_run("chaosRuns/r2") == records[:1]


async def test_a_target_has_one_run_until_it_is_released(unit_of_work: SqlUnitOfWorkFactory) -> None:
    targets = ("kafka", "serving-0")
    async with unit_of_work() as uow:
        await uow.holds.take(targets, "chaosRuns/r1")
        await uow.commit()
    async with unit_of_work.view() as view:
        held = await view.holds.holders(["serving-0", "registry-0"])

    async with unit_of_work() as uow:
        await uow.holds.release("chaosRuns/r1")
        await uow.commit()

    async with unit_of_work.view() as view:
        assert held == {"serving-0": "chaosRuns/r1"}
        assert await view.holds.holders(targets) == {}


async def test_of_all_uses_of_the_switch_the_latest_counts(unit_of_work: SqlUnitOfWorkFactory) -> None:
    off = SwitchChange(is_on=False, actor="users/b", reason="over", change_time=NOW)
    async with unit_of_work() as uow:
        before = await uow.switch.latest()
        await uow.switch.add(SwitchChange(is_on=True, actor="users/a", reason="incident", change_time=NOW))
        await uow.switch.add(off)
        await uow.commit()

    async with unit_of_work.view() as view:
        assert before is None
        assert await view.switch.latest() == off
