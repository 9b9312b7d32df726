"""The same promises on a real broker, with processes that are killed."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from mltrainer.feature.v1.events_pb2 import BarClosed, FeaturesMaterialized, ViewRevised
from mltrainer_cli.kafka import start_broker
from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_messaging.envelope import OutgoingEvent
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.publisher import DirectPublisher
from mltrainer_messaging.subscriptions import ConsumerGroup, TransientError, subscribe
from mltrainer_messaging.topics import topic_of
from mltrainer_testkit.ledger import Ledger, open_ledger, running
from mltrainer_testkit.topics import list_dead_letters, replay_dead_letters, tail

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BARS = topic_of(BarClosed)
BOOKED = topic_of(FeaturesMaterialized)


@pytest.fixture
async def own_kafka(kafka: str) -> AsyncIterator[str]:
    """The session's broker without any topic, for tests that count what is on them."""
    await delete_topics(kafka)
    yield kafka
    await delete_topics(kafka)


async def delete_topics(servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    # Deleting a topic also deletes the offsets that groups have committed on it.
    while topics := [name for name in await admin.list_topics() if name.startswith("mltrainer.")]:
        await admin.delete_topics(topics)
        await asyncio.sleep(0.1)
    await admin.close()


@asynccontextmanager
async def producer(servers: str) -> AsyncIterator[DirectPublisher]:
    async with KafkaBroker(servers, "producer") as broker:
        yield DirectPublisher(broker, "/mltrainer/test")


async def send_bars(servers: str, symbol: str, count: int, start: int = 0) -> None:
    async with producer(servers) as publisher:
        for number in range(start, start + count):
            await publisher.publish(BarClosed(symbol=symbol, close=number), event_id=f"{symbol}-{number}")


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 25) -> float:
    started_s = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 - other processes signal nothing
            await asyncio.sleep(0.1)
    return time.monotonic() - started_s


async def announced(servers: str) -> list[tuple[str, int]]:
    events = [
        FeaturesMaterialized.FromString(record.value or b"") async for record in tail(servers, [BOOKED.name])
    ]
    return [(event.feature_view, event.row_count) for event in events]


async def has_booked(ledger: Ledger, count: int) -> bool:
    return len(await ledger.booked()) >= count


@contextmanager
def ledger_process(servers: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [sys.executable, "-m", "mltrainer_testkit.ledger", servers, url]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def bookings(path: Path) -> Counter[str]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return Counter(row[0] for row in connection.execute("SELECT event_id FROM booking"))
    except sqlite3.OperationalError:
        return Counter()


async def test_events_pass_once_and_in_order(own_kafka: str, tmp_path: Path) -> None:
    async with (
        open_ledger(f"sqlite:///{tmp_path}/l.db") as ledger,
        KafkaBroker(own_kafka, "ledger") as broker,
    ):
        await asyncio.gather(*(send_bars(own_kafka, symbol, 20) for symbol in "ABC"))
        await asyncio.gather(*(send_bars(own_kafka, symbol, 20) for symbol in "ABC"))
        async with running(ledger, broker):
            await until(lambda: has_booked(ledger, 60))
            await send_bars(own_kafka, "A", 5, start=20)
            await until(lambda: has_booked(ledger, 65))

            async def all_announced() -> bool:
                return len(await announced(own_kafka)) >= 65

            await until(all_announced)

        booked, published = await ledger.booked(), await announced(own_kafka)
    for symbol, count in {"A": 25, "B": 20, "C": 20}.items():
        assert [int(close) for name, close in booked if name == symbol] == list(range(count))
        assert [number for name, number in published if name == symbol] == list(range(count))


async def test_topics_are_made_as_their_contract_says(own_kafka: str) -> None:
    async with KafkaBroker(own_kafka, "test") as broker:
        await broker.ensure_topics([BARS, topic_of(ViewRevised)])
        await broker.ensure_topics([BARS])
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka)
    await admin.start()
    described = await admin.describe_topics([BARS.name, BARS.dead_letter, topic_of(ViewRevised).name])
    await admin.close()

    partitions = {topic["topic"]: len(topic["partitions"]) for topic in described}
    assert partitions == {BARS.name: 12, BARS.dead_letter: 1, topic_of(ViewRevised).name: 6}


async def test_bad_and_oversized_records_become_dead_letters_that_can_be_replayed(
    own_kafka: str, tmp_path: Path
) -> None:
    is_broken = True

    async def handle(event: object) -> None:
        if is_broken:
            raise ValueError("broken")
        handled.append(event)

    handled: list[object] = []
    group = ConsumerGroup("reader", (subscribe(BarClosed, handle),))
    huge = OutgoingEvent(BARS.name, b"\xff", b"x" * (3 << 20), (("ce_id", b"\xfe"), ("empty", None)))
    async with KafkaBroker(own_kafka, "reader") as broker:
        await send_bars(own_kafka, "A", 1)
        await broker.publisher.publish([huge])
        consuming = asyncio.create_task(broker.consume(group))

        async def both_given_up() -> bool:
            return len([letter async for letter in list_dead_letters(own_kafka, BARS.name)]) == 2

        await until(both_given_up)
        letters = {letter.cause: letter async for letter in list_dead_letters(own_kafka, BARS.name)}
        is_broken = False
        replayed = await replay_dead_letters(
            own_kafka, broker.publisher, BARS.name, lambda letter: letter.cause == "ValueError"
        )

        async def is_handled() -> bool:
            return bool(handled)

        await until(is_handled)
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)

    assert letters.keys() == {"TOO_LARGE", "ValueError"}
    assert letters["TOO_LARGE"].original() == huge
    assert replayed == 1
    assert [event.id for event in handled] == ["A-0"]  # type: ignore[attr-defined]


async def test_a_killed_process_continues_where_it_was(own_kafka: str, tmp_path: Path) -> None:
    path, url = tmp_path / "l.db", f"sqlite:///{tmp_path}/l.db"
    expected = {f"A-{number}" for number in range(300)}
    sending = asyncio.create_task(send_bars(own_kafka, "A", 300))
    recoveries: list[float] = []

    for _kill in range(3):
        before = sum(bookings(path).values())
        with ledger_process(own_kafka, url) as process:

            async def progressed(before: int = before) -> bool:
                return sum(bookings(path).values()) > before

            recoveries.append(await until(progressed))
            process.send_signal(signal.SIGKILL)
        if sending.done():
            await send_bars(own_kafka, "B", 50)
            expected |= {f"B-{number}" for number in range(50)}
    await sending

    with ledger_process(own_kafka, url):

        async def complete() -> bool:
            return bookings(path).keys() >= expected

        await until(complete)

        async def all_announced() -> bool:
            return len(set(await announced(own_kafka))) == len(expected)

        await until(all_announced)
    assert bookings(path) == dict.fromkeys(expected, 1)
    assert max(recoveries) < 30


async def test_an_event_that_kills_its_process_ends_as_a_dead_letter(own_kafka: str, tmp_path: Path) -> None:
    path, url = tmp_path / "l.db", f"sqlite:///{tmp_path}/l.db"
    await send_bars(own_kafka, "A", 5, start=-1)
    await send_bars(own_kafka, "B", 3)
    deaths = 0
    with ExitStack() as stack:
        process = stack.enter_context(ledger_process(own_kafka, url))

        async def all_booked() -> bool:
            nonlocal deaths, process
            if process.poll() is not None:
                deaths += 1
                process = stack.enter_context(ledger_process(own_kafka, url))
            return len(bookings(path)) == 7

        await until(all_booked, timeout_s=100)
    letters = [letter async for letter in list_dead_letters(own_kafka, BARS.name)]
    assert [(letter.event_id, letter.cause) for letter in letters] == [("A--1", "PROCESS_DEATH")]
    assert set(bookings(path).values()) == {1}
    assert deaths == 3


async def test_consumer_and_relay_outlive_the_death_of_the_broker(tmp_path: Path) -> None:
    async with open_ledger(f"sqlite:///{tmp_path}/l.db") as ledger:
        with start_broker(tmp_path / "kafka") as first:
            servers = first.bootstrap_servers
            async with KafkaBroker(servers, "ledger") as broker, running(ledger, broker):
                await send_bars(servers, "A", 20)
                await until(lambda: has_booked(ledger, 20))

                os.kill(first.pid, signal.SIGKILL)
                await asyncio.sleep(1)
                with start_broker(tmp_path / "kafka"):
                    await send_bars(servers, "A", 20, start=20)
                    recovery_s = await until(lambda: has_booked(ledger, 40), timeout_s=30)

                    async def all_announced() -> bool:
                        return len(set(await announced(servers))) == 40

                    await until(all_announced)
    assert recovery_s < 15


async def test_everything_starts_before_the_broker_does(tmp_path: Path) -> None:
    with start_broker(tmp_path / "kafka") as broker_once:
        servers = broker_once.bootstrap_servers
    async with (
        open_ledger(f"sqlite:///{tmp_path}/l.db") as ledger,
        KafkaBroker(servers, "ledger") as broker,
        running(ledger, broker),
    ):
        with pytest.raises(BrokerUnavailableError):
            await broker.publisher.publish([])
        with start_broker(tmp_path / "kafka"):
            await send_bars(servers, "A", 3)
            await until(lambda: has_booked(ledger, 3))


async def test_two_replicas_share_the_work_and_one_takes_over(own_kafka: str, postgres_url: str) -> None:
    async with open_ledger(postgres_url) as first, open_ledger(postgres_url) as second:
        async with KafkaBroker(own_kafka, "one") as broker_one, KafkaBroker(own_kafka, "two") as broker_two:
            groups = [
                ConsumerGroup(
                    "ledger", (subscribe(BarClosed, ledger.on_bar),), ledger.database, instance=name
                )
                for ledger, name in ((first, "0"), (second, "1"))
            ]
            async with running(second, broker_two, groups[1]):
                async with running(first, broker_one, groups[0]):

                    async def both_work() -> bool:
                        await asyncio.gather(*(send_bars(own_kafka, symbol, 1) for symbol in "ABCDEFGH"))
                        return bool(first.calls) and bool(second.calls)

                    await until(both_work)
                await asyncio.gather(*(send_bars(own_kafka, symbol, 3) for symbol in "ABCDEFGH"))
                await until(lambda: has_booked(second, 24))

        assert len(await second.booked()) == 24


async def test_a_partition_that_waits_holds_up_no_other(own_kafka: str, tmp_path: Path) -> None:
    async def before(message: BarClosed) -> None:
        if message.close < 0:
            raise TransientError

    symbols = "ABCDEFGH"
    async with (
        open_ledger(f"sqlite:///{tmp_path}/l.db") as ledger,
        KafkaBroker(own_kafka, "ledger") as broker,
    ):
        ledger.before = before
        group = ConsumerGroup("ledger", (subscribe(BarClosed, ledger.on_bar),), ledger.database)
        await send_bars(own_kafka, "STUCK", 1, start=-1)
        await asyncio.gather(*(send_bars(own_kafka, symbol, 5) for symbol in symbols))
        records = [record async for record in tail(own_kafka, [BARS.name])]
        stuck = next(record.partition for record in records if record.key == b"STUCK")
        free = sum(record.partition != stuck for record in records)
        async with running(ledger, broker, group):
            await until(lambda: has_booked(ledger, free))

    assert 0 < free <= 40


async def test_offsets_are_committed_behind_what_took_effect(own_kafka: str, tmp_path: Path) -> None:
    await send_bars(own_kafka, "A", 7)
    async with (
        open_ledger(f"sqlite:///{tmp_path}/l.db") as ledger,
        KafkaBroker(own_kafka, "ledger") as broker,
        running(ledger, broker),
    ):
        await until(lambda: has_booked(ledger, 7))
    consumer = AIOKafkaConsumer(bootstrap_servers=own_kafka, group_id="ledger", enable_auto_commit=False)
    await consumer.start()
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka)
    await admin.start()
    offsets = await admin.list_consumer_group_offsets("ledger")
    await admin.close()
    await consumer.stop()

    assert sum(max(0, offset.offset) for offset in offsets.values()) == 7
