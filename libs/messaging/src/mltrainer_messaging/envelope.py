"""Encodes and decodes events in the CloudEvents Kafka binary binding, and names exactly what is wrong with a bad one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message, covariant=True)  # noqa: PLC0105 - a one-letter type variable reads best here

CONTENT_TYPE = "application/protobuf"
MAX_EVENT_BYTES = 1 << 20
TRACEPARENT = "traceparent"
_REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type", "content-type")

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """Holds an encoded event, ready to be published as one record."""

    topic: str
    key: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


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
