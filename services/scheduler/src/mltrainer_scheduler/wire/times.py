"""Translates times."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_time(message: Timestamp) -> datetime | None:
    """Reads a time; None where no calendar has it."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def to_timestamp(time: datetime | None) -> Timestamp | None:
    """Writes a time; None stays unset."""
    if time is None:
        return None
    # Every placement has ten of them: `FromDatetime` takes three times as long.
    passed = time - _EPOCH
    return Timestamp(seconds=passed.days * 86_400 + passed.seconds, nanos=passed.microseconds * 1_000)
