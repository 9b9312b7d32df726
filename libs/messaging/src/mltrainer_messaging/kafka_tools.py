"""Reads topics for people: tail, list dead letters, play them again; the `mltrainer events` command uses it."""

from collections.abc import AsyncIterator, Callable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from mltrainer_messaging.broker import BrokerUnavailableError, EventPublisher
from mltrainer_messaging.dead_letters import DeadLetter, read_dead_letter
from mltrainer_messaging.envelope import RawRecord
from mltrainer_messaging.kafka_consumer import raw_record
from mltrainer_messaging.topics import DEAD_LETTER_SUFFIX

_POLL_MS = 500


async def tail(
    bootstrap_servers: str, topics: Sequence[str], *, follow: bool = False, newest_only: bool = False
) -> AsyncIterator[RawRecord]:
    """Yields the records of topics, each partition in order; without `follow` it ends at what is there now.

    A topic that does not exist is an empty one.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
    try:
        partitions = await _partitions(bootstrap_servers, topics)
        if not partitions:
            return
        await consumer.start()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        starts = ends if newest_only else await consumer.beginning_offsets(partitions)
        for partition, offset in starts.items():
            consumer.seek(partition, offset)
        behind = {partition for partition in partitions if starts[partition] < ends[partition]}
        while behind or follow:
            fetched = await consumer.getmany(timeout_ms=_POLL_MS)
            for partition, records in fetched.items():
                for record in records:
                    if follow or record.offset < ends[partition]:
                        yield raw_record(record)
                if records[-1].offset + 1 >= ends[partition]:
                    behind.discard(partition)
    except (KafkaError, OSError) as error:
        raise BrokerUnavailableError(f"Kafka at {bootstrap_servers}: {error!r}") from error
    finally:
        await consumer.stop()


async def list_dead_letters(bootstrap_servers: str, topic: str) -> AsyncIterator[DeadLetter]:
    """Yields what was given up on a topic, oldest first; takes the topic's name with or without the suffix."""
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
