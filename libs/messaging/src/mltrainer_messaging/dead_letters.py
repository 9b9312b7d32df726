"""Keeps events that could not be handled, with cause and original bytes, and restores them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from mltrainer_messaging.envelope import OutgoingEvent, RawRecord
from mltrainer_messaging.topics import DEAD_LETTER_SUFFIX

_PREFIX = "dl_"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Tells why an event was given up, by whom, and where it came from; `record` holds its original bytes.

    `cause` is an envelope fault, `PROCESS_DEATH`, or the class name of the handler's last error.
    """

    cause: str
    detail: str
    consumer: str
    handler: str
    attempts: int
    time: datetime
    traceparent: str
    record: RawRecord

    @property
    def event_id(self) -> str:
        """Returns the `ce_id`, empty where it cannot be read."""
        return _text(dict(self.record.headers).get("ce_id"))

    @property
    def topic(self) -> str:
        """Returns the topic this dead letter lies on."""
        return self.record.topic + DEAD_LETTER_SUFFIX

    def to_record(self) -> OutgoingEvent:
        """Encodes it: the original key, value and headers, and headers of its own beside them."""
        facts = {
            "cause": self.cause,
            "detail": self.detail[:1000],
            "consumer": self.consumer,
            "handler": self.handler,
            "attempts": str(self.attempts),
            "time": self.time.isoformat(),
            "traceparent": self.traceparent,
            "topic": self.record.topic,
            "partition": str(self.record.partition),
            "offset": str(self.record.offset),
            "record_time": self.record.time.isoformat(),
        }
        own = tuple((_PREFIX + name, text.encode(errors="replace")) for name, text in facts.items())
        return OutgoingEvent(self.topic, self.record.key, self.record.value, (*self.record.headers, *own))

    def original(self) -> OutgoingEvent:
        """Returns the event as first published; a replay publishes this, and inboxes drop what they know."""
        return OutgoingEvent(self.record.topic, self.record.key, self.record.value, self.record.headers)


def read_dead_letter(record: RawRecord) -> DeadLetter:
    """Decodes a record of a dead-letter topic."""
    facts = {name[len(_PREFIX) :]: _text(value) for name, value in record.headers if name.startswith(_PREFIX)}
    return DeadLetter(
        cause=facts.get("cause", "UNKNOWN"),
        detail=facts.get("detail", ""),
        consumer=facts.get("consumer", ""),
        handler=facts.get("handler", ""),
        attempts=int(facts.get("attempts", "0")),
        time=_time(facts.get("time"), record.time),
        traceparent=facts.get("traceparent", ""),
        record=RawRecord(
            topic=facts.get("topic", record.topic.removesuffix(DEAD_LETTER_SUFFIX)),
            partition=int(facts.get("partition", "-1")),
            offset=int(facts.get("offset", "-1")),
            key=record.key,
            value=record.value,
            headers=tuple(header for header in record.headers if not header[0].startswith(_PREFIX)),
            time=_time(facts.get("record_time"), record.time),
        ),
    )


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _time(text: str | None, default: datetime) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC) if text else default
