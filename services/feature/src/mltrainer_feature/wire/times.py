"""Translates times of contracts."""

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def read_time(message: Message, field: str) -> datetime | None:
    """Returns a time field as aware UTC; None where it is unset or outside the years that exist."""
    if not message.HasField(field):
        return None
    try:
        moment: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment


def write_time(moment: datetime) -> Timestamp:
    """Returns a time as a contract carries it."""
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
