"""Reads the topics of a real broker for tests: everything on them, and what was given up."""

from collections.abc import AsyncIterator, Callable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from mltrainer_messaging.broker import EventPublisher
from mltrainer_messaging.dead_letters import DeadLetter, read_dead_letter
from mltrainer_messaging.envelope import RawRecord
from mltrainer_messaging.kafka_consumer import raw_record
from mltrainer_messaging.topics import DEAD_LETTER_SUFFIX

_POLL_MS = 500


async def tail(bootstrap_servers: str, topics: Sequence[str]) -> AsyncIterator[RawRecord]:
    """Yields the records that topics hold now, each partition in order; a missing topic is an empty one."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
    try:
        partitions = await _partitions(bootstrap_servers, topics)
        if not partitions:
            return
        await consumer.start()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        starts = await consumer.beginning_offsets(partitions)
        for partition, offset in starts.items():
            consumer.seek(partition, offset)
        behind = {partition for partition in partitions if starts[partition] < ends[partition]}
        while behind:
            fetched = await consumer.getmany(timeout_ms=_POLL_MS)
            for partition, records in fetched.items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield raw_record(record)
                if records[-1].offset + 1 >= ends[partition]:
                    behind.discard(partition)
    finally:
        await consumer.stop()


async def list_dead_letters(bootstrap_servers: str, topic: str) -> AsyncIterator[DeadLetter]:
    """Yields what was given up on a topic, oldest first; the name may have the suffix or not."""
    name = topic.removesuffix(DEAD_LETTER_SUFFIX) + DEAD_LETTER_SUFFIX
    async for record in tail(bootstrap_servers, [name]):
        yield read_dead_letter(record)


async def replay_dead_letters(
    bootstrap_servers: str,
    publisher: EventPublisher,
    topic: str,
    is_wanted: Callable[[DeadLetter], bool] = lambda _letter: True,
) -> int:
    """Publishes the originals of dead letters again and returns how many.

    Replaying twice is harmless: whoever has handled an event meanwhile drops its id.
    """
    count = 0
    async for letter in list_dead_letters(bootstrap_servers, topic):
        if is_wanted(letter):
            await publisher.publish([letter.original()])
            count += 1
    return count


async def _partitions(bootstrap_servers: str, topics: Sequence[str]) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        existing = [topic for topic in topics if topic in await admin.list_topics()]
        described = await admin.describe_topics(existing) if existing else []
    finally:
        await admin.close()
    return [
        TopicPartition(topic["topic"], number["partition"])
        for topic in described
        for number in topic["partitions"]
    ]
