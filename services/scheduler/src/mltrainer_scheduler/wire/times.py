"""Translates times."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


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
    message = Timestamp()
    message.FromDatetime(time)
    return message
