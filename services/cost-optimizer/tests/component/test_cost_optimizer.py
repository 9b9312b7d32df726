"""Starts the real service with SQLite and a broker in memory."""

from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from mltrainer.cost_optimizer.v1 import cost_optimizer_service_pb2 as api
from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2_grpc import CostOptimizerServiceStub
from mltrainer.cost_optimizer.v1.events_pb2 import WasteFound
from mltrainer_common.errors import RpcFailure, StartupError
from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_messaging.envelope import OutgoingEvent
from mltrainer_messaging.topics import topic_of
from mltrainer_testkit.fake_broker import FakeBroker


def _stub(service: Any) -> Any:
    return CostOptimizerServiceStub(service.context.channel("cost-optimizer"))


async def test_a_failed_attempt_is_billed_and_announced_once_although_events_repeat_and_mix(
    running: Any, make: Any
) -> None:
    broker = FakeBroker(redeliver=True, shuffle_seed=3)
    for name in "abcdef":
        await broker.send(make.end_event(1_000, name, "FAILED"))
        await broker.send(make.usage_event(900, 1_000, name))
        await broker.send(make.start_event(name, f"trainings/{name}"))

    async with running(broker) as service:
        await broker.settle()
        bill = await _stub(service).GetBill(api.GetBillRequest())
        charges = await _stub(service).ListCharges(api.ListChargesRequest(page_size=7))
        rest = await _stub(service).ListCharges(api.ListChargesRequest(page_token=charges.next_page_token))
        waste = await _stub(service).ListWasteFindings(api.ListWasteFindingsRequest())

    assert sorted(event.resource for event in broker.events(WasteFound)) == [
        f"allocations/{n}" for n in "abcdef"
    ]
    assert bill.price_file == "cloud-list 2026-11-23"
    assert len(bill.lines) == 6
    billed = [charge.billed_cost_micros for page in (charges, rest) for charge in page.charges]
    assert sum(billed) == bill.total_micros == sum(line.billed_micros for line in bill.lines)
    assert sum(found.cost_micros for found in waste.waste_findings) == bill.total_micros
    assert len(waste.waste_findings) == 6
    assert broker.dead_letters() == []


class _DeafBroker(FakeBroker):
    """Delivers, but takes nothing: as if the service died between commit and publish."""

    async def publish(self, events: Any) -> None:
        if any(event.topic == topic_of(WasteFound).name for event in events):
            raise BrokerUnavailableError("not now")
        await super().publish(events)


async def test_a_finding_committed_before_a_crash_is_published_after_it(running: Any, make: Any) -> None:
    deaf, broker = _DeafBroker(), FakeBroker()
    for event in (make.start_event(), make.end_event(1_000, reason="FAILED")):
        await deaf.send(event, event_id=event.DESCRIPTOR.name)
        await broker.send(event, event_id=event.DESCRIPTOR.name)
    async with running(deaf) as service:
        while not (await _stub(service).ListWasteFindings(api.ListWasteFindingsRequest())).waste_findings:
            await deaf.settle()

    async with running(broker):
        [found] = await broker.wait_for(WasteFound)
        await broker.settle()

    assert (found.resource, found.kind) == ("allocations/a", "LOST_ATTEMPT")
    assert len(broker.events(WasteFound)) == 1


async def test_an_event_that_cannot_be_billed_is_a_dead_letter_and_takes_no_other_with_it(
    running: Any, make: Any
) -> None:
    broker = FakeBroker()
    nameless = make.start_event("b")
    nameless.allocation.name = ""
    for event in (make.start_event("a"), nameless, make.start_event("c")):
        await broker.send(event)
    await broker.publish([OutgoingEvent(topic_of(nameless).name, b"x", b"\xff", ())])

    async with running(broker) as service:
        await broker.settle()
        charges = await _stub(service).ListCharges(api.ListChargesRequest())

    assert len(broker.dead_letters()) == 2
    assert {charge.resource_id for charge in charges.charges} == {"allocations/a", "allocations/c"}


async def test_a_restart_keeps_the_bill_of_what_has_ended(running: Any, make: Any) -> None:
    broker = FakeBroker()
    await broker.send(make.start_event())
    await broker.send(make.end_event(1_000))
    async with running(broker) as service:
        await broker.settle()
        before = await _stub(service).GetBill(api.GetBillRequest())

    async with running(FakeBroker()) as service:
        after = await _stub(service).GetBill(api.GetBillRequest())

    assert before.total_micros > 0
    assert (after.total_micros, after.lines) == (before.total_micros, before.lines)


async def test_wrong_requests_are_rich_errors(running: Any) -> None:
    async with running(FakeBroker()) as service:
        with pytest.raises(RpcFailure) as caught:
            await _stub(service).ListCharges(api.ListChargesRequest(page_size=5_000))

    assert (caught.value.code, caught.value.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert caught.value.field_violations[0].field == "page_size"


async def test_a_wrong_price_file_ends_the_start_with_one_sentence(running: Any, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="MLTRAINER_COST_OPTIMIZER_PRICE_FILE"):
        async with running(FakeBroker(), price_file=tmp_path / "none.toml"):
            pass
