"""Consumers, outbox and relay with the ledger service on the in-memory broker."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from mltrainer.feature.v1.events_pb2 import BarClosed, FeaturesMaterialized
from mltrainer_common.database import DatabaseUnavailableError
from mltrainer_common.traces import format_traceparent
from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_messaging.dispatch import PROCESS_DEATH, Dispatcher, PartitionDispatcher
from mltrainer_messaging.envelope import OutgoingEvent, RawRecord
from mltrainer_messaging.inbox import prune_inbox
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.publisher import DirectPublisher
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.subscriptions import ConsumerGroup, FailurePolicy, TransientError, subscribe
from mltrainer_messaging.topics import topic_of
from mltrainer_testkit import conformance
from mltrainer_testkit.clocks import ManualClock
from mltrainer_testkit.fake_broker import FakeBroker
from mltrainer_testkit.ledger import Ledger, open_ledger, run_ledger, running
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

BARS = topic_of(BarClosed).name


class Died(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


@pytest.fixture
async def any_ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(database_url) as opened:
        yield opened


def bar(symbol: str = "A", close: float = 1.0) -> BarClosed:
    return BarClosed(symbol=symbol, close=close)


async def consume(partition: PartitionDispatcher, records: list[RawRecord]) -> None:
    """Handles and commits; what is not committed stays in the list."""
    while records:
        del records[: await partition.handle(records)]


def partition_of(
    ledger: Ledger, broker: FakeBroker, group: ConsumerGroup | None = None
) -> PartitionDispatcher:
    dispatcher = Dispatcher(group or ledger.group(), broker, EventInstruments(), ManualClock())
    return PartitionDispatcher(dispatcher, BARS, 0)


@pytest.mark.parametrize("in_batches", [False, True], ids=["one by one", "in batches"])
@pytest.mark.parametrize("seed", range(3))
async def test_effects_happen_once_whatever_is_redelivered_or_reordered(
    any_ledger: Ledger, seed: int, *, in_batches: bool
) -> None:
    broker = FakeBroker(redeliver=True, shuffle_seed=seed)
    async with running(any_ledger, broker, any_ledger.group(in_batches=in_batches)):
        for close in range(5):
            for symbol in "ABCD":
                await broker.send(bar(symbol, close), event_id=f"{symbol}{close}")
                await broker.send(bar(symbol, close), event_id=f"{symbol}{close}")
        await broker.settle()

    booked = await any_ledger.booked()
    assert len(booked) == 20
    for symbol in "ABCD":
        assert [close for name, close in booked if name == symbol] == [0, 1, 2, 3, 4]
        announced = [event for event in broker.events(FeaturesMaterialized) if event.feature_view == symbol]
        assert [event.row_count for event in announced] == [0, 1, 2, 3, 4]
    assert broker.dead_letters() == []


async def test_a_crash_between_commit_and_publish_loses_no_event(any_ledger: Ledger) -> None:
    broker = FakeBroker()
    await broker.send(bar("A", 1))
    consumer = asyncio.create_task(broker.consume(any_ledger.group()))
    await broker.settle()
    consumer.cancel()
    await asyncio.gather(consumer, return_exceptions=True)
    assert broker.events(FeaturesMaterialized) == []

    async with running(any_ledger, broker):
        announced = await broker.wait_for(FeaturesMaterialized)

    assert [event.feature_view for event in announced] == ["A"]


async def test_a_crash_between_publish_and_delete_repeats_the_same_event_id(any_ledger: Ledger) -> None:
    broker = FakeBroker()
    async with any_ledger.transactions.open() as transaction:
        event_id = transaction.outbox.add(FeaturesMaterialized(feature_view="A"))
        await transaction.commit()
    relay = OutboxRelay(any_ledger.database, broker, OutboxSignal(), service="ledger")
    failing = FailingAfterPublish(broker)
    crashed = OutboxRelay(any_ledger.database, failing, OutboxSignal(), service="ledger")

    with pytest.raises(Died):
        await crashed.relay_once()
    assert await relay.relay_once() == 1

    records = broker.records(topic_of(FeaturesMaterialized).name)
    assert [dict(record.headers)["ce_id"] for record in records] == [event_id.encode()] * 2
    assert await relay.relay_once() == 0


class FailingAfterPublish(FakeBroker):
    def __init__(self, broker: FakeBroker) -> None:
        super().__init__()
        self._broker = broker

    async def publish(self, events: object) -> None:
        await self._broker.publish(events)  # type: ignore[arg-type]
        raise Died


async def test_of_two_relays_one_works_until_its_lease_ends(any_ledger: Ledger) -> None:
    broker, clock = FakeBroker(), ManualClock()
    first, second = (
        OutboxRelay(
            any_ledger.database, broker, OutboxSignal(), service="ledger", instance=number, clock=clock
        )
        for number in "01"
    )

    async def add() -> None:
        async with any_ledger.transactions.open() as transaction:
            transaction.outbox.add(FeaturesMaterialized(feature_view="A"))
            await transaction.commit()

    await add()
    published = [await first.relay_once()]
    await add()
    published.append(await second.relay_once())
    published.append(await first.relay_once())
    await add()
    clock.advance(16)
    published.append(await second.relay_once())

    assert published == [1, 0, 1, 1]
    assert len(broker.events(FeaturesMaterialized)) == 3


async def test_two_relays_together_publish_everything_once_and_in_order(any_ledger: Ledger) -> None:
    broker = FakeBroker()
    relays = [
        OutboxRelay(
            any_ledger.database, broker, any_ledger.signal, service="ledger", instance=name, poll_s=0.01
        )
        for name in "01"
    ]

    async def published() -> list[int]:
        tasks = [asyncio.create_task(relay.run()) for relay in relays]
        await broker.wait_for(FeaturesMaterialized, 50)
        await broker.settle()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [event.row_count for event in broker.events(FeaturesMaterialized)]

    await conformance.check_events_leave_in_order(
        any_ledger.transactions.open,
        lambda number: FeaturesMaterialized(feature_view="A", row_count=number),
        published,
    )


async def test_an_event_is_claimed_once(any_ledger: Ledger) -> None:
    await conformance.check_an_event_is_claimed_once(any_ledger.transactions.open)


async def test_old_claims_are_forgotten(any_ledger: Ledger) -> None:
    async with any_ledger.transactions.open() as transaction:
        await transaction.inbox.claim("e")
        await transaction.commit()
        now = transaction.outbox._clock.now()

    assert await prune_inbox(any_ledger.database, now - timedelta(days=1)) == 0
    assert await prune_inbox(any_ledger.database, now + timedelta(days=1)) == 1


async def test_consumer_and_relay_wait_for_an_absent_broker(ledger: Ledger) -> None:
    broker = FakeBroker()
    await broker.send(bar())
    consumer = asyncio.create_task(broker.consume(ledger.group()))
    await broker.settle()
    broker.is_available = False
    relay = OutboxRelay(
        ledger.database, broker, ledger.signal, [FeaturesMaterialized], service="ledger", poll_s=0.01
    )
    relaying = asyncio.create_task(relay.run())
    with pytest.raises(BrokerUnavailableError):
        await broker.publish([])

    await broker.resume()
    announced = await broker.wait_for(FeaturesMaterialized)

    assert len(announced) == 1
    for task in (consumer, relaying):
        task.cancel()
    await asyncio.gather(consumer, relaying, return_exceptions=True)


async def test_bad_records_become_dead_letters_and_the_partition_moves_on(ledger: Ledger) -> None:
    broker = FakeBroker()
    good = [await broker.send(bar("A", number), event_id=f"g{number}") for number in range(2)]
    template = broker.records(BARS)[0]
    bad = OutgoingEvent(BARS, b"A", b"\xff\xff", template.headers)
    await broker.publish([bad, replace(bad, value=template.value, headers=(("ce_id", b"\xfe"),))])
    await broker.send(bar("A", 2))

    async with running(ledger, broker):
        await broker.settle()

    assert len(good) == 2
    assert await ledger.booked() == [("A", 0), ("A", 1), ("A", 2)]
    letters = broker.dead_letters()
    assert [letter.cause for letter in letters] == ["UNDECODABLE", "HEADER_NOT_UTF8"]
    assert [letter.record.value for letter in letters] == [b"\xff\xff", template.value]
    assert letters[0].original() == bad
    assert {letter.consumer for letter in letters} == {"ledger"}


@pytest.mark.parametrize("in_batches", [False, True], ids=["one by one", "in batches"])
async def test_an_event_whose_handler_keeps_failing_is_given_up_alone(
    ledger: Ledger, *, in_batches: bool
) -> None:
    broker = FakeBroker()

    async def before(message: BarClosed) -> None:
        if message.close == 2:
            raise ValueError("no such bar")

    ledger.before = before
    for close in range(5):
        await broker.send(
            bar("A", close), traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        )

    async with running(ledger, broker, ledger.group(in_batches=in_batches)):
        await broker.settle()

    assert [close for _, close in await ledger.booked()] == [0, 1, 3, 4]
    [letter] = broker.dead_letters()
    assert (letter.cause, letter.detail, letter.attempts) == ("ValueError", "no such bar", 3)
    assert letter.handler.startswith("Ledger.on_bar")
    assert letter.traceparent.startswith("00-0af7651916cd43dd8448eb211c80319c-")


async def test_a_replayed_dead_letter_takes_effect_once_its_cause_is_gone(ledger: Ledger) -> None:
    broker = FakeBroker()

    async def before(message: BarClosed) -> None:
        raise ValueError

    ledger.before = before
    await broker.send(bar())
    async with running(ledger, broker):
        await broker.settle()
        [letter] = broker.dead_letters()

        ledger.before = ledger.after
        await broker.publish([letter.original()])
        await broker.publish([letter.original()])
        await broker.settle()

    assert await ledger.booked() == [("A", 1.0)]


async def test_a_transient_failure_is_outlasted(ledger: Ledger) -> None:
    broker, failures = FakeBroker(), iter(range(10))

    async def before(message: BarClosed) -> None:
        if next(failures, None) is not None:
            raise TransientError

    ledger.before = before
    await broker.send(bar())
    async with running(ledger, broker):
        await broker.wait_for(FeaturesMaterialized)

    assert len(ledger.calls) == 11
    assert broker.dead_letters() == []


async def test_a_transient_failure_that_lasts_too_long_is_given_up(ledger: Ledger) -> None:
    broker = FakeBroker()

    async def before(message: BarClosed) -> None:
        raise TransientError("still not")

    ledger.before = before
    await broker.send(bar())
    async with running(ledger, broker):
        await broker.settle()

    assert [letter.cause for letter in broker.dead_letters()] == ["TransientError"]


async def test_an_outage_of_the_database_blames_no_event(ledger: Ledger) -> None:
    broker, outage = FakeBroker(), iter(range(30))
    policy = FailurePolicy(first_backoff_s=0.001, max_backoff_s=0.001, transient_limit_s=0)

    async def before(message: BarClosed) -> None:
        if next(outage, None) is not None:
            raise DatabaseUnavailableError

    ledger.before = before
    await broker.send(bar())
    async with running(ledger, broker, ledger.group(failures=policy)):
        await broker.wait_for(FeaturesMaterialized)

    assert await ledger.booked() == [("A", 1.0)]


async def die_at(ledger: Ledger, symbol: str) -> None:
    async def before(message: BarClosed) -> None:
        if message.symbol == symbol:
            raise Died

    ledger.before = before


async def test_an_event_that_kills_its_process_is_given_up_and_no_other(any_ledger: Ledger) -> None:
    broker = FakeBroker()
    for symbol in ("A", "B", "KILLER", "C", "D"):
        await broker.send(bar(symbol))
    records = [record for _, log in sorted(broker._logs.items()) for record in log]
    records = [replace(record, partition=0, offset=offset) for offset, record in enumerate(records)]
    await die_at(any_ledger, "KILLER")

    deaths = 0
    while True:
        try:
            await consume(partition_of(any_ledger, broker), records)
        except Died:
            deaths += 1
        else:
            break

    assert deaths == 6  # once in the batch, then five times counted
    assert sorted(await any_ledger.booked()) == [(symbol, 1.0) for symbol in "ABCD"]
    assert [(letter.cause, letter.attempts) for letter in broker.dead_letters()] == [(PROCESS_DEATH, 5)]


async def test_random_deaths_blame_no_innocent_event(ledger: Ledger) -> None:
    broker, chance = FakeBroker(), random.Random(7)

    async def before(message: BarClosed) -> None:
        if chance.random() < 0.15:
            raise Died

    ledger.before = before
    for number in range(60):
        await broker.send(bar("A", number))
    records = broker.records(BARS)

    deaths = 0
    while records:
        try:
            await consume(partition_of(ledger, broker), records)
        except Died:
            deaths += 1

    assert deaths > 5
    assert [close for _, close in await ledger.booked()] == list(range(60))
    assert broker.dead_letters() == []


async def test_careful_handling_ends_behind_the_suspect_range(ledger: Ledger) -> None:
    broker = FakeBroker()
    for number in range(4):
        await broker.send(bar("A", number))
    records = broker.records(BARS)
    await die_at(ledger, "A")
    with pytest.raises(Died):
        await partition_of(ledger, broker).handle(records[:2])
    ledger.before = ledger.after
    partition = partition_of(ledger, broker, ledger.group(in_batches=True))

    await consume(partition, records)

    assert len(await ledger.booked()) == 4
    assert partition._unfinished is None


async def test_one_event_continues_its_trace_and_the_events_it_causes_follow(ledger: Ledger) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("test")
    broker = FakeBroker(instruments=EventInstruments(tracer=tracer))
    with tracer.start_as_current_span("request") as root:
        sent = format_traceparent(root.get_span_context())

    async with running(ledger, broker):
        await broker.send(bar(), traceparent=sent)
        await broker.wait_for(FeaturesMaterialized)

    [processed] = [span for span in spans.get_finished_spans() if span.name.startswith("process ")]
    [record] = broker.records(topic_of(FeaturesMaterialized).name)
    assert processed.context is not None
    assert processed.context.trace_id == root.get_span_context().trace_id
    assert dict(record.headers)["traceparent"] == format_traceparent(processed.context).encode()


async def test_a_batch_is_one_span_linked_to_the_traces_of_its_events(ledger: Ledger) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    broker = FakeBroker(instruments=EventInstruments(tracer=provider.get_tracer("test")))
    for number in range(1, 4):
        await broker.send(bar(), traceparent=f"00-{number:032x}-b7ad6b7169203331-01")

    async with running(ledger, broker, ledger.group(in_batches=True)):
        await broker.settle()

    [span] = spans.get_finished_spans()
    assert [link.context.trace_id for link in span.links] == [1, 2, 3]
    assert span.parent is None


async def test_what_is_consumed_and_given_up_is_counted(ledger: Ledger) -> None:
    registry = CollectorRegistry()
    broker = FakeBroker(instruments=EventInstruments(registry))

    async def before(message: BarClosed) -> None:
        if message.symbol == "BAD":
            raise ValueError

    ledger.before = before
    async with running(ledger, broker):
        for symbol in ("A", "BAD", "B"):
            await broker.send(bar(symbol))
        await broker.settle()

    def count(outcome: str) -> float | None:
        labels = {"consumer": "ledger", "topic": BARS, "outcome": outcome}
        return registry.get_sample_value("mltrainer_events_consumed_total", labels)

    assert (count("handled"), count("dead_lettered")) == (2, 1)


async def test_a_process_without_a_database_publishes_and_consumes() -> None:
    broker, seen = FakeBroker(), []

    async def handle(event: object) -> None:
        seen.append(event)

    task = asyncio.create_task(broker.consume(ConsumerGroup("viewer", (subscribe(BarClosed, handle),))))
    with trace.get_tracer("test").start_as_current_span("nothing"):
        event_id = await DirectPublisher(broker, "/mltrainer/sdk").publish(bar())
    await broker.settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [event.id for event in seen] == [event_id]  # type: ignore[attr-defined]


async def test_a_group_that_reads_one_type_twice_is_a_mistake(ledger: Ledger) -> None:
    subscription = subscribe(BarClosed, ledger.on_bar)

    with pytest.raises(ValueError, match="twice"):
        await FakeBroker().consume(ConsumerGroup("ledger", (subscription, subscription)))


async def test_stopping_in_the_middle_of_a_handler_rolls_back_and_continues_later(ledger: Ledger) -> None:
    broker, inside = FakeBroker(), asyncio.Event()

    async def before(message: BarClosed) -> None:
        inside.set()
        await asyncio.Event().wait()

    ledger.before = before
    await broker.send(bar())
    task = asyncio.create_task(run_ledger(ledger, broker))
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await ledger.booked() == []

    ledger.before = ledger.after
    async with running(ledger, broker):
        await broker.wait_for(FeaturesMaterialized)

    assert await ledger.booked() == [("A", 1.0)]
