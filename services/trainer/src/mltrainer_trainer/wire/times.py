"""Converts times exactly."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_microseconds(value: int) -> datetime:
    """Reads microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)
