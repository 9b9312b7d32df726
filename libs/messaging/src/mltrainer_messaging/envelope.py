"""Encodes and decodes events in the CloudEvents Kafka binary binding; names what is wrong with a bad one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from mltrainer_messaging.topics import record_key, topic_of

M = TypeVar("M", bound=Message, covariant=True)  # noqa: PLC0105 - a one-letter type variable reads best here

SPECVERSION = "1.0"
CONTENT_TYPE = "application/protobuf"
MAX_EVENT_BYTES = 1 << 20
TRACEPARENT = "traceparent"
_REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type", "content-type")


Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """Holds an encoded event, ready to be published as one record."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class RawRecord:
    """Holds a record exactly as the broker delivered it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    time: datetime


@dataclass(frozen=True, slots=True)
class Event(Generic[M]):
    """Holds a decoded event."""

    id: str
    type: str
    source: str
    time: datetime
    key: str
    message: M
    traceparent: str | None
    topic: str
    partition: int
    offset: int


class EnvelopeFault(StrEnum):
    """Names what makes a record unreadable; the value is the `cause` of its dead letter."""

    TOO_LARGE = "TOO_LARGE"
    NO_BODY = "NO_BODY"
    HEADER_MISSING = "HEADER_MISSING"
    HEADER_NOT_UTF8 = "HEADER_NOT_UTF8"
    KEY_NOT_UTF8 = "KEY_NOT_UTF8"
    WRONG_SPECVERSION = "WRONG_SPECVERSION"
    WRONG_CONTENT_TYPE = "WRONG_CONTENT_TYPE"
    BAD_TIME = "BAD_TIME"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    UNDECODABLE = "UNDECODABLE"


class EnvelopeError(Exception):
    """A record is not a readable event."""

    def __init__(self, fault: EnvelopeFault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail


class EventTooLargeError(ValueError):
    """An event to be published exceeds 1 MiB; bulk data goes through the artifact store."""


def encode_event(
    message: Message, *, source: str, event_id: str, time: datetime, traceparent: str | None
) -> OutgoingEvent:
    """Encodes an event for the topic of its type.

    Raises:
        EventTooLargeError: The body exceeds 1 MiB.
        NotAnEventError: The type is not an event.
    """
    value = message.SerializeToString()
    if len(value) > MAX_EVENT_BYTES:
        raise EventTooLargeError(
            f"{message.DESCRIPTOR.full_name} has {len(value)} bytes, above {MAX_EVENT_BYTES}"
        )
    headers = {
        "ce_specversion": SPECVERSION,
        "ce_id": event_id,
        "ce_source": source,
        "ce_type": message.DESCRIPTOR.full_name,
        "ce_time": time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "content-type": CONTENT_TYPE,
    }
    if traceparent is not None:
        headers[TRACEPARENT] = traceparent
    encoded = tuple((name, text.encode()) for name, text in headers.items())
    return OutgoingEvent(topic_of(message).name, record_key(message).encode(), value, encoded)


def decode_event(record: RawRecord, types: Mapping[str, type[Message]]) -> Event[Message]:
    """Decodes a record into one of the types, which are given by full name.

    Raises:
        EnvelopeError: The record is not a readable event; the fault says why.
    """
    body = record.value
    if body is None:
        raise EnvelopeError(EnvelopeFault.NO_BODY, "the record has no value")
    if len(body) > MAX_EVENT_BYTES:
        raise EnvelopeError(EnvelopeFault.TOO_LARGE, f"{len(body)} bytes, above {MAX_EVENT_BYTES}")
    headers = _checked_headers(record)
    message_type = types.get(headers["ce_type"])
    if message_type is None:
        raise EnvelopeError(
            EnvelopeFault.UNKNOWN_TYPE, f"{headers['ce_type']} is not expected on {record.topic}"
        )
    try:
        message = message_type.FromString(body)
    except DecodeError as error:
        raise EnvelopeError(EnvelopeFault.UNDECODABLE, f"{headers['ce_type']}: {error}") from error
    return Event(
        id=headers["ce_id"],
        type=headers["ce_type"],
        source=headers["ce_source"],
        time=_time(headers.get("ce_time"), record.time),
        key=_utf8("key", record.key or b"", EnvelopeFault.KEY_NOT_UTF8),
        message=message,
        traceparent=headers.get(TRACEPARENT),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
    )


def _checked_headers(record: RawRecord) -> dict[str, str]:
    headers = {
        name: _utf8(name, value, EnvelopeFault.HEADER_NOT_UTF8)
        for name, value in record.headers
        if value is not None
    }
    for name in _REQUIRED:
        if not headers.get(name):
            raise EnvelopeError(EnvelopeFault.HEADER_MISSING, f"header {name} is missing or empty")
    if headers["ce_specversion"] != SPECVERSION:
        raise EnvelopeError(
            EnvelopeFault.WRONG_SPECVERSION, f"ce_specversion is {headers['ce_specversion']!r}"
        )
    if headers["content-type"].partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise EnvelopeError(EnvelopeFault.WRONG_CONTENT_TYPE, f"content-type is {headers['content-type']!r}")
    return headers


def _utf8(name: str, value: bytes, fault: EnvelopeFault) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise EnvelopeError(fault, f"{name} is not UTF-8") from error


def _time(text: str | None, default: datetime) -> datetime:
    if text is None:
        return default
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise EnvelopeError(EnvelopeFault.BAD_TIME, f"ce_time is {text!r}") from error
    if time.tzinfo is None:
        raise EnvelopeError(EnvelopeFault.BAD_TIME, f"ce_time {text!r} has no zone")
    return time.astimezone(UTC)
