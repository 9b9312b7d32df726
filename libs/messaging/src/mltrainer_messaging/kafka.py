"""Implements the broker ports on Kafka, with plain aiokafka."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from mltrainer_common.clock import Clock, SystemClock

from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_messaging.dispatch import Dispatcher
from mltrainer_messaging.envelope import MAX_EVENT_BYTES, OutgoingEvent
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka_consumer import KafkaGroupConsumer
from mltrainer_messaging.kafka_logs import calm_aiokafka
from mltrainer_messaging.subscriptions import ConsumerGroup
from mltrainer_messaging.topics import Topic

T = TypeVar("T")

_DAY_MS = 24 * 60 * 60 * 1_000
# Room above the limit of an event: an oversized one of a foreign producer reaches its dead-letter topic.
_MAX_RECORD_BYTES = 8 * MAX_EVENT_BYTES
_REQUEST_TIMEOUT_MS = 10_000
_STOP_TIMEOUT_S = 2.0
_VISIBLE_TIMEOUT_S = 10.0
_VISIBLE_POLL_S = 0.02


class KafkaPublisher:
    """Publishes with one idempotent producer, which connects at the first use and again after an error."""

    def __init__(self, bootstrap_servers: str, client_id: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._producer: Any = None
        self._lock = asyncio.Lock()

    async def publish(self, events: Sequence[OutgoingEvent]) -> None:
        """Publishes in order and returns when the broker has stored all of them.

        Raises:
            BrokerUnavailableError: At least one was perhaps not stored; publishing all again is safe.
        """
        producer = None
        try:
            producer = await self._connected()
            sent = [await _send(producer, event) for event in events]
            await asyncio.gather(*sent)
        except (KafkaError, OSError) as error:
            # A failed idempotent producer may have a gap in its sequence: the next one starts afresh.
            await self._discard(producer)
            raise BrokerUnavailableError(f"Kafka at {self._bootstrap_servers}: {error!r}") from error

    async def close(self) -> None:
        """Disconnects."""
        await self._discard(self._producer)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap_servers,
                    client_id=self._client_id,
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=256 * 1024,
                    max_request_size=_MAX_RECORD_BYTES,
                    request_timeout_ms=_REQUEST_TIMEOUT_MS,
                )
                try:
                    await producer.start()
                except BaseException:
                    await _bounded(producer.stop())
                    raise
                self._producer = producer
            return self._producer

    async def _discard(self, producer: AIOKafkaProducer | None) -> None:
        if producer is not None and producer is self._producer:
            self._producer = None
            await _bounded(producer.stop())


class KafkaBroker:
    """Publishes to and consumes from Kafka; an async context manager that needs no broker to start."""

    def __init__(
        self,
        bootstrap_servers: str,
        client_id: str,
        instruments: EventInstruments | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._publisher = KafkaPublisher(bootstrap_servers, client_id)
        self._instruments = instruments or EventInstruments()
        self._clock = clock or SystemClock()
        self._ensured: set[str] = set()

    async def __aenter__(self) -> Self:
        calm_aiokafka()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._publisher.close()

    @property
    def publisher(self) -> KafkaPublisher:
        """Returns the publisher that consumers and relay of this process share."""
        return self._publisher

    async def consume(self, group: ConsumerGroup) -> None:
        """Delivers events to the group's handlers until cancelled; survives the absence of the broker."""
        dispatcher = Dispatcher(group, self._publisher, self._instruments, self._clock)
        consumer = KafkaGroupConsumer(
            self._bootstrap_servers, dispatcher, self._instruments, self.ensure_topics
        )
        await consumer.run()

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        """Creates the topics that are missing, and their dead-letter topics.

        Raises:
            BrokerUnavailableError: The broker cannot be reached or refuses.
        """
        missing = [topic for topic in topics if topic.name not in self._ensured]
        if not missing:
            return
        try:
            await create_topics(self._bootstrap_servers, missing)
        except (KafkaError, OSError) as error:
            raise BrokerUnavailableError(f"Kafka at {self._bootstrap_servers}: {error!r}") from error
        self._ensured.update(topic.name for topic in missing)


async def create_topics(bootstrap_servers: str, topics: Sequence[Topic]) -> None:
    """Creates topics with their dead-letter topics where they are missing; leaves others alone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        replicas = min(3, len((await admin.describe_cluster())["brokers"]))
        wanted = [new for topic in topics for new in _new_topics(topic, replicas) if new.name not in existing]
        if not wanted:
            return
        response = await admin.create_topics(wanted)
        for name, code, *_text in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"creating {name}")
        async with asyncio.timeout(_VISIBLE_TIMEOUT_S):
            await _until_visible(admin, [new.name for new in wanted])
    finally:
        await _bounded(admin.close())


async def _until_visible(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    # A consumer that joins before a topic is visible would learn of its partitions only much later.
    while True:
        described = await admin.describe_topics(list(names))
        if all(topic["partitions"] for topic in described):
            return
        await asyncio.sleep(_VISIBLE_POLL_S)


def _new_topics(topic: Topic, replicas: int) -> list[NewTopic]:
    in_sync = "2" if replicas >= 3 else "1"
    common = {"max.message.bytes": str(_MAX_RECORD_BYTES), "min.insync.replicas": in_sync}
    kept = {"cleanup.policy": "compact"} if topic.compacted else {"retention.ms": str(7 * _DAY_MS)}
    letters = common | {"retention.ms": str(14 * _DAY_MS)}
    return [
        NewTopic(topic.name, topic.partitions, replicas, topic_configs=common | kept),
        NewTopic(topic.dead_letter, 1, replicas, topic_configs=letters),
    ]


async def _send(producer: AIOKafkaProducer, event: OutgoingEvent) -> Awaitable[Any]:
    future: Awaitable[Any] = await producer.send(
        event.topic, value=event.value, key=event.key, headers=list(event.headers)
    )
    return future


async def _bounded(closing: Awaitable[T]) -> None:
    # Closing talks to the broker, which may be what is gone.
    with suppress(KafkaError, OSError, TimeoutError):
        await asyncio.wait_for(closing, _STOP_TIMEOUT_S)
