"""Reads the event stream from outside: no consumer group, so nothing a service sees is changed."""

import asyncio
import importlib
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mltrainer
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from mltrainer_messaging.dead_letters import DeadLetter, read_dead_letter
from mltrainer_messaging.envelope import EnvelopeError, RawRecord, decode_event
from mltrainer_messaging.topics import DEAD_LETTER_SUFFIX, NotAnEventError, topic_of

from mltrainer_cli.errors import CliError, ExitCode

_ASSIGNMENT_TIMEOUT_S = 10.0
_POLL_MS = 300
_TOPICS_AGE_MS = 3_000


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter and where it lies, by which `events replay` can be told to play it again."""

    address: str
    letter: DeadLetter


async def read_records(
    bootstrap_servers: str, pattern: str, *, from_beginning: bool, follow: bool
) -> AsyncIterator[RawRecord]:
    """Yields the records of all topics that match, in the order they arrive.

    Raises:
        CliError: the broker cannot be reached.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest" if from_beginning else "latest",
        metadata_max_age_ms=_TOPICS_AGE_MS,
    )
    consumer.subscribe(pattern=pattern)
    try:
        await consumer.start()
        async for record in _records(consumer, follow=follow):
            yield record
    except KafkaError as error:
        raise CliError(
            f"Kafka at {bootstrap_servers} cannot be read ({error!r}): see `mltrainer status`.",
            ExitCode.NOT_RUNNING,
        ) from error
    finally:
        await consumer.stop()


async def read_dead_letters(
    bootstrap_servers: str, *, topic: str | None, cause: str | None
) -> list[StoredDeadLetter]:
    """Returns the dead letters there are, of one topic or cause where given, oldest first."""
    pattern = rf"^mltrainer\..*{DEAD_LETTER_SUFFIX.replace('.', '[.]')}$"
    records = read_records(bootstrap_servers, pattern, from_beginning=True, follow=False)
    stored = [
        StoredDeadLetter(f"{record.topic}/{record.partition}/{record.offset}", read_dead_letter(record))
        async for record in records
    ]
    chosen = [
        one
        for one in stored
        if (topic is None or one.letter.record.topic == topic)
        and (cause is None or one.letter.cause == cause)
    ]
    return sorted(chosen, key=lambda one: one.letter.time)


def event_types() -> dict[str, type[Message]]:
    """Returns every event type of the contracts by its full name."""
    found: dict[str, type[Message]] = {}
    # The contracts are a namespace package, which pkgutil does not walk.
    for root in mltrainer.__path__:
        for file in sorted(Path(root).glob("*/v*/events_pb2.py")):
            module = ".".join(("mltrainer", *file.relative_to(root).with_suffix("").parts))
            for message in importlib.import_module(module).DESCRIPTOR.message_types_by_name.values():
                if _is_event(cls := GetMessageClass(message)):
                    found[message.full_name] = cls
    return found


def describe(record: RawRecord, types: dict[str, type[Message]]) -> dict[str, Any]:
    """Returns a record as JSON: its event where it can be read, else what is wrong and its bytes."""
    place = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": None if record.key is None else record.key.decode(errors="replace"),
        "time": record.time.isoformat(),
    }
    try:
        event = decode_event(record, types)
    except EnvelopeError as error:
        value = None if record.value is None else b64encode(record.value).decode()
        return {**place, "fault": error.fault, "detail": str(error), "value_base64": value}
    body = MessageToDict(event.message, preserving_proto_field_name=True)
    facts = {"id": event.id, "type": event.type, "source": event.source, "traceparent": event.traceparent}
    return {**place, **facts, "event": body}


def _is_event(cls: type[Message]) -> bool:
    try:
        topic_of(cls)
    except NotAnEventError:
        return False
    return True


async def _records(consumer: AIOKafkaConsumer, *, follow: bool) -> AsyncIterator[RawRecord]:
    ends: dict[Any, int] = {}
    if not follow:
        partitions = await _assigned(consumer)
        ends = await consumer.end_offsets(partitions) if partitions else {}
    while follow or await _has_more(consumer, ends):
        batches = await consumer.getmany(timeout_ms=_POLL_MS)
        for partition, batch in batches.items():
            for record in batch:
                if follow or record.offset < ends.get(partition, 0):
                    yield _raw(record)


async def _assigned(consumer: AIOKafkaConsumer) -> set[Any]:
    deadline = time.monotonic() + _ASSIGNMENT_TIMEOUT_S
    while not consumer.assignment() and await consumer.topics() and time.monotonic() < deadline:  # noqa: ASYNC110  # aiokafka tells nobody
        await asyncio.sleep(0.1)
    return set(consumer.assignment())


async def _has_more(consumer: AIOKafkaConsumer, ends: dict[Any, int]) -> bool:
    for partition, end in ends.items():
        if end and await consumer.position(partition) < end:
            return True
    return False


def _raw(record: Any) -> RawRecord:
    return RawRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        time=datetime.fromtimestamp(record.timestamp / 1000, UTC),
    )
