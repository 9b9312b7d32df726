"""Reads the topics of one consumer group from Kafka and hands each partition's records to its dispatcher."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_messaging.dispatch import Dispatcher, PartitionDispatcher
from mltrainer_messaging.envelope import RawRecord
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.topics import Topic

_log = structlog.get_logger(__name__)

_GRACE_S = 5.0
_STOP_TIMEOUT_S = 2.0
_MAX_BACKOFF_S = 1.0
_POLL_S = 0.5
# A partition may wait out an outage in place for long; the group learns of a dead process by its session.
_MAX_POLL_INTERVAL_MS = 60 * 60 * 1_000


class KafkaGroupConsumer:
    """Runs one member of a consumer group: a worker per partition that has records, one commit per batch.

    A partition whose worker is busy is not fetched again, so a slow or waiting partition holds up no other.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        dispatcher: Dispatcher,
        instruments: EventInstruments,
        ensure_topics: Callable[[Sequence[Topic]], Awaitable[None]],
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._dispatcher = dispatcher
        self._group = dispatcher.group
        self._lag = instruments.lag
        self._ensure_topics = ensure_topics

    async def run(self) -> None:
        """Consumes until cancelled; joins again after any failure of the broker."""
        failures = 0
        while True:
            session = _Session(self._new_consumer(), self._dispatcher, self._lag)
            try:
                await self._ensure_topics([item.topic for item in self._group.subscriptions])
                await session.start([item.topic.name for item in self._group.subscriptions])
                failures = 0
                await session.consume()
            except (KafkaError, BrokerUnavailableError, OSError) as error:
                failures += 1
                _log.warning(
                    "consumer_rejoins", consumer=self._group.name, failures=failures, error=repr(error)
                )
            finally:
                await session.stop()
            await asyncio.sleep(min(0.1 * 2 ** min(failures, 10), _MAX_BACKOFF_S))

    def _new_consumer(self) -> AIOKafkaConsumer:
        member = f"{self._group.name}-{self._group.instance}"
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=self._group.name,
            group_instance_id=member,
            client_id=member,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=1_000,
            max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
            request_timeout_ms=10_000,
            metadata_max_age_ms=10_000,
        )


class _Session(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Lives from joining the group to leaving it."""

    def __init__(self, consumer: AIOKafkaConsumer, dispatcher: Dispatcher, lag: Any) -> None:
        self._consumer = consumer
        self._dispatcher = dispatcher
        self._lag = lag
        self._commits = _SharedCommits(consumer)
        self._partitions: dict[TopicPartition, PartitionDispatcher] = {}
        self._workers: dict[TopicPartition, asyncio.Task[None]] = {}

    async def start(self, topics: Sequence[str]) -> None:
        self._consumer.subscribe(topics=topics, listener=self)
        await self._consumer.start()

    async def consume(self) -> None:
        while True:
            self._reap()
            idle = self._consumer.assignment() - self._workers.keys()
            if self._workers and not idle:
                await asyncio.wait(
                    self._workers.values(), timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED
                )
                continue
            # Without any partition, when the group is still forming, this asks for all that will come.
            for partition, records in (await self._fetch(idle)).items():
                if partition in self._consumer.assignment():
                    self._workers[partition] = asyncio.create_task(self._work(partition, records))

    async def stop(self) -> None:
        await self._finish(list(self._workers))
        with suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(self._consumer.stop(), _STOP_TIMEOUT_S)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Lets the handlers that run finish and commit before another member takes over."""
        partitions = list(revoked)
        await self._finish(partitions)
        for partition in partitions:
            self._partitions.pop(partition, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Starts each partition from its committed offset and its stored progress."""
        for partition in assigned:
            self._partitions[partition] = PartitionDispatcher(
                self._dispatcher, partition.topic, partition.partition
            )

    async def _fetch(self, idle: Iterable[TopicPartition]) -> dict[TopicPartition, list[Any]]:
        """Waits for records of idle partitions, or until a worker ends and its partition is idle too."""
        group = self._dispatcher.group
        fetch = asyncio.ensure_future(
            self._consumer.getmany(*idle, timeout_ms=int(_POLL_S * 1000), max_records=group.max_batch)
        )
        try:
            await asyncio.wait([fetch, *self._workers.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Records leave aiokafka's buffer only as the result, so a cancelled fetch loses none.
            fetch.cancel()
        try:
            result: dict[TopicPartition, list[Any]] = await fetch
        except asyncio.CancelledError:
            if not fetch.cancelled():
                raise
            return {}
        return result

    async def _work(self, partition: TopicPartition, records: Sequence[Any]) -> None:
        waiting, end = [raw_record(record) for record in records], records[-1].offset + 1
        while waiting:
            handled = await self._partitions[partition].handle(waiting)
            try:
                await self._commits.commit(partition, waiting[handled - 1].offset + 1)
            except (CommitFailedError, IllegalStateError):
                # The partition has moved on to another member, which will drop what it sees again.
                _log.info("commit_superseded", topic=partition.topic, partition=partition.partition)
                return
            waiting = waiting[handled:]
        highwater = self._consumer.highwater(partition) if partition in self._consumer.assignment() else end
        lag = self._lag.labels(self._dispatcher.group.name, partition.topic, str(partition.partition))
        lag.set(max(0, (highwater or end) - end))

    def _reap(self) -> None:
        for partition in [key for key, worker in self._workers.items() if worker.done()]:
            self._workers.pop(partition).result()

    async def _finish(self, partitions: Sequence[TopicPartition]) -> None:
        workers = [self._workers.pop(key) for key in partitions if key in self._workers]
        if not workers:
            return
        _done, pending = await asyncio.wait(workers, timeout=_GRACE_S)
        for worker in pending:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


@dataclass(slots=True)
class _Commit:
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    is_taken: bool = False
    is_done: bool = False


class _SharedCommits:
    """Commits partitions that finish together by one request.

    Requests follow one another, and no partition is fetched again before its own has been answered.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._forming = _Commit()
        self._lock = asyncio.Lock()

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        """Returns when the offset is committed; raises as the consumer does for this partition alone."""
        mine = self._forming
        mine.offsets[partition] = offset
        # Whoever finishes in the same turn of the loop joins.
        await asyncio.sleep(0)
        async with self._lock:
            if not mine.is_taken:
                self._forming, mine.is_taken = _Commit(), True
                with suppress(CommitFailedError, IllegalStateError):
                    await self._consumer.commit(mine.offsets)
                    mine.is_done = True
        if not mine.is_done:
            await self._consumer.commit({partition: offset})


def raw_record(record: Any) -> RawRecord:
    return RawRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        time=datetime.fromtimestamp(record.timestamp / 1000, UTC),
    )
