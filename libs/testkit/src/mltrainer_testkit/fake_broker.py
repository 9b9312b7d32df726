"""A broker in memory that speaks the messaging ports, so that a service runs in a test without Kafka."""

import asyncio
import random
import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import Message
from mltrainer_common.clock import Clock, SystemClock
from mltrainer_common.ids import new_id
from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_messaging.dead_letters import DeadLetter, read_dead_letter
from mltrainer_messaging.dispatch import Dispatcher, PartitionDispatcher
from mltrainer_messaging.envelope import OutgoingEvent, RawRecord, encode_event
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.subscriptions import ConsumerGroup
from mltrainer_messaging.topics import DEAD_LETTER_SUFFIX, Topic, topic_of

M = TypeVar("M", bound=Message)

_DEFAULT_PARTITIONS = 1
_QUIET_S = 0.15


class FakeBroker:
    """Keeps topics in memory, delivers at least once, in order within a partition, and survives its services.

    Attributes:
        is_available: False makes publishing fail and consumers wait, like a broker that is down.
    """

    def __init__(
        self,
        *,
        redeliver: bool = False,
        shuffle_seed: int | None = None,
        clock: Clock | None = None,
        instruments: EventInstruments | None = None,
    ) -> None:
        """Takes what may go wrong: batches delivered twice; partitions served in random order and sizes."""
        self.is_available = True
        self._redeliver = redeliver
        self._random = None if shuffle_seed is None else random.Random(shuffle_seed)
        self._clock = clock or SystemClock()
        self._instruments = instruments or EventInstruments()
        self._partition_counts: dict[str, int] = {}
        self._logs: dict[tuple[str, int], list[RawRecord]] = defaultdict(list)
        self._committed: dict[tuple[str, str, int], int] = defaultdict(int)
        self._running: set[str] = set()
        self._activity = 0
        self._changed = asyncio.Condition()

    @property
    def publisher(self) -> "FakeBroker":
        """Returns itself: it publishes too."""
        return self

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        """Notes how many partitions the topics have."""
        self._check_available()
        self._partition_counts.update({topic.name: topic.partitions for topic in topics})

    async def publish(self, events: Sequence[OutgoingEvent]) -> None:
        """Appends records; also raw ones that no service would make."""
        self._check_available()
        for event in events:
            count = self._partition_counts.get(event.topic, _DEFAULT_PARTITIONS)
            partition = zlib.crc32(event.key or b"") % count
            log = self._logs[event.topic, partition]
            record = RawRecord(
                event.topic, partition, len(log), event.key, event.value, event.headers, self._clock.now()
            )
            log.append(record)
        await self._notify()

    async def send(
        self,
        message: Message,
        *,
        event_id: str | None = None,
        source: str = "/mltrainer/test",
        traceparent: str | None = None,
    ) -> str:
        """Publishes an event as a producer would, and returns its id."""
        event_id = event_id or new_id()
        await self.ensure_topics([topic_of(message)])
        event = encode_event(
            message, source=source, event_id=event_id, time=self._clock.now(), traceparent=traceparent
        )
        await self.publish([event])
        return event_id

    async def consume(self, group: ConsumerGroup) -> None:
        """Delivers events to the group's handlers until cancelled, from where the group last stopped."""
        await self.ensure_topics([item.topic for item in group.subscriptions])
        dispatcher = Dispatcher(group, self, self._instruments, self._clock)
        partitions: dict[tuple[str, int], PartitionDispatcher] = {}
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self.is_available and self._waiting(group))
            waiting = self._waiting(group)
            key = self._random.choice(waiting) if self._random else waiting[0]
            partition = partitions.setdefault(key, PartitionDispatcher(dispatcher, *key))
            await self._deliver(group, partition, key)

    async def settle(self, timeout_s: float = 20.0) -> None:
        """Waits until nothing was published or handled for a moment and every running group has caught up.

        Prefer `wait_for` where the expected events are known: it returns at once.
        """
        async with asyncio.timeout(timeout_s):
            seen = -1
            while seen != self._activity or self._running:
                seen = self._activity
                await asyncio.sleep(_QUIET_S)

    async def wait_for(self, event_type: type[M], count: int = 1, timeout_s: float = 20.0) -> list[M]:
        """Returns all events of a type once there are as many as expected."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.events(event_type)) >= count)
        return self.events(event_type)

    def records(self, topic: str) -> list[RawRecord]:
        """Returns all records of a topic, partition by partition."""
        return [record for key in sorted(self._logs) if key[0] == topic for record in self._logs[key]]

    def events(self, event_type: type[M]) -> list[M]:
        """Returns all published events of a type, in order within each partition, repeats included."""
        return [
            event_type.FromString(record.value or b"") for record in self.records(topic_of(event_type).name)
        ]

    def dead_letters(self) -> list[DeadLetter]:
        """Returns everything that was given up."""
        names = {topic for topic, _ in self._logs if topic.endswith(DEAD_LETTER_SUFFIX)}
        return [read_dead_letter(record) for name in sorted(names) for record in self.records(name)]

    async def resume(self) -> None:
        """Makes the broker available again."""
        self.is_available = True
        await self._notify()

    async def _deliver(
        self, group: ConsumerGroup, partition: PartitionDispatcher, key: tuple[str, int]
    ) -> None:
        records = self._pending(group, *key)[: group.max_batch]
        if self._random:
            records = records[: self._random.randint(1, len(records))]
        self._running.add(group.name)
        handled = 0
        try:
            for _ in range(2 if self._redeliver else 1):
                handled = await partition.handle(records)
        finally:
            self._running.discard(group.name)
        self._committed[group.name, *key] = records[handled - 1].offset + 1
        await self._notify()

    def _waiting(self, group: ConsumerGroup) -> list[tuple[str, int]]:
        topics = {item.topic.name for item in group.subscriptions}
        return [key for key in sorted(self._logs) if key[0] in topics and self._pending(group, *key)]

    def _pending(self, group: ConsumerGroup, topic: str, partition: int) -> list[RawRecord]:
        return self._logs[topic, partition][self._committed[group.name, topic, partition] :]

    def _check_available(self) -> None:
        if not self.is_available:
            raise BrokerUnavailableError("the fake broker is switched off")

    async def _notify(self) -> None:
        self._activity += 1
        async with self._changed:
            self._changed.notify_all()
