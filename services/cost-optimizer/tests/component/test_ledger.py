"""What the ledger makes of reports, on SQLite and on PostgreSQL."""

import itertools
from typing import Any

import pytest
from mltrainer_cost_optimizer.application.answer import ListChargesHandler
from mltrainer_cost_optimizer.application.ports import Position
from mltrainer_cost_optimizer.domain.bill import Period
from mltrainer_cost_optimizer.domain.errors import InvalidFieldError
from mltrainer_messaging.tables import outbox
from mltrainer_testkit.clocks import ManualClock
from sqlalchemy import func, select

NOTHING = (None, None, "")


async def _events(store: Any) -> int:
    async with store.database.snapshot() as connection:
        return int((await connection.execute(select(func.count()).select_from(outbox))).scalar_one())


async def test_reports_in_any_order_make_the_same_bill(store: Any, make: Any) -> None:
    facts = [make.started(), make.ending(1_000, "FAILED"), make.usage(500, 250), make.usage(990, 500)]
    orders = list(itertools.permutations(facts))

    for number, order in enumerate(orders):
        training = make.started(training=f"trainings/{number}")
        for fact in order:
            await store.record([make.report(training if fact is facts[0] else fact, f"a{number}")])
    bill = await store.bill(*NOTHING)

    amounts = {(line.billed_micros, line.idle_micros, line.used_cpu_seconds) for line in bill.lines}
    assert amounts == {(21_000, 16_000, 500.0)}
    assert len(bill.lines) == len(orders)
    assert len(await store.reader.waste(None, 100)) == await _events(store) == len(orders)


async def test_a_report_delivered_twice_counts_once(store: Any, make: Any) -> None:
    reports = [make.report(make.started()), make.report(make.ending(1_000, "FAILED"))]

    first, second = await store.record(reports), await store.record([*reports, *reports])

    assert (first.reports, len(first.findings)) == (2, 1)
    assert (second.reports, second.findings) == (0, ())
    assert await _events(store) == 1


async def test_another_start_or_end_of_the_same_allocation_changes_nothing(store: Any, make: Any) -> None:
    await store.record([make.report(make.started()), make.report(make.ending(1_000))])
    before = await store.bill(*NOTHING)

    later = make.started(start_time=make.time(500), is_spot=True, study="studies/other")
    await store.record([make.report(later, event_id="x"), make.report(make.ending(2_000), event_id="y")])

    assert await store.bill(*NOTHING) == before


async def test_what_was_not_committed_never_happened(store: Any, make: Any) -> None:
    async with store.unit_of_work() as uow:
        await uow.inbox.claim_all(["e1"])
        revision = await uow.ledger.advance()
        await uow.ledger.save([make.account()])

    assert revision == 1
    assert (await store.bill(*NOTHING)).lines == ()
    booked = await store.record([make.report(make.started(), event_id="e1")])
    assert booked.reports == 1


async def test_a_bill_has_a_period_and_a_study(store: Any, make: Any) -> None:
    await store.record(
        [
            make.report(make.started("trainings/a", "studies/one"), "a"),
            make.report(make.ending(1_000), "a"),
            make.report(make.started("trainings/b", "studies/two", start_time=make.time(1_000)), "b"),
        ]
    )

    early = await store.bill(None, make.time(1_000), "")
    late = await store.bill(make.time(1_000), None, "")
    whole = await store.bill(*NOTHING)
    two = await store.bill(None, None, "studies/two")

    assert [line.training for line in early.lines] == ["trainings/a"]
    assert [line.training for line in late.lines] == [line.training for line in two.lines] == ["trainings/b"]
    assert early.total_micros + late.total_micros == whole.total_micros == 75_600
    with pytest.raises(InvalidFieldError):
        await store.bill(make.time(10), make.time(9), "")


async def test_charges_are_paged_and_sum_to_the_bill(store: Any, make: Any) -> None:
    names = [f"a{number}" for number in range(5)]
    for second, name in enumerate(names):
        start = make.started(start_time=make.time(second // 2), is_spot=second == 4)
        await store.record([make.report(start, name)])
    charges = ListChargesHandler(store.reader, ManualClock(make.time(3_600)))

    listed: list[Any] = []
    after: Position | None = None
    while page := await charges(after, 3):
        listed += page
        after = Position(page[-1].charge.charge_period.start_time, page[-1].charge_id)

    assert len({named.charge_id for named in listed}) == len(listed) == 10
    starts = [named.charge.charge_period.start_time for named in listed]
    assert starts == sorted(starts, reverse=True)
    bill = await store.bill(*NOTHING)
    assert sum(named.charge.billed_cost_micros for named in listed) == bill.total_micros
    spot = next(named.charge for named in listed if named.charge_id == "a4-cpu")
    assert spot.list_cost_micros == 4 * spot.billed_cost_micros


async def test_findings_are_paged_and_come_back_as_they_were(store: Any, make: Any) -> None:
    reports = [
        make.report(fact, name) for name in "abc" for fact in (make.started(), make.ending(9, "FAILED"))
    ]
    booked = await store.record(reports)

    first = await store.reader.waste(None, 2)
    rest = await store.reader.waste(Position(first[-1].create_time, first[-1].finding_id), 2)

    assert {*first, *rest} == set(booked.findings)
    assert len(first) == 2


async def test_an_account_comes_back_as_it_was(store: Any, make: Any) -> None:
    await store.record([make.report(make.started()), make.report(make.usage(600, 590, 5))])
    await store.record([make.report(make.usage(700, 590))])

    [billable] = await store.reader.billables(Period(make.time(0), make.time(9)), "studies/s")
    async with store.unit_of_work() as uow:
        loaded = await uow.ledger.load(["allocations/a"])

    account = loaded["allocations/a"]
    assert account == billable.account
    assert account.usage.memory_bytes == 5
    assert account.quiet_since.time == make.time(600)
