"""Translates times."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def to_timestamp(time: datetime) -> Timestamp:
    """Encodes an aware time."""
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def from_timestamp(timestamp: Timestamp) -> datetime:
    """Decodes to an aware UTC time."""
    return timestamp.ToDatetime(tzinfo=UTC)


def time_text(time: datetime) -> str:
    """Writes a time for people, RFC 3339."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
