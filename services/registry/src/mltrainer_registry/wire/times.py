"""Translates times."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from mltrainer_registry.domain.errors import InvalidFieldError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_timestamp(time: datetime) -> Timestamp:
    """Encodes an aware time."""
    since = time - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def from_timestamp(timestamp: Timestamp, field: str) -> datetime:
    """Decodes to an aware UTC time.

    Raises:
        InvalidFieldError: The calendar has no such time.
    """
    try:
        return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1_000)
    except OverflowError:
        raise InvalidFieldError(
            field, f"is {timestamp.seconds} s from 1970, not in the years 1 to 9999"
        ) from None


def time_text(time: datetime) -> str:
    """Writes a time for people, RFC 3339."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
