"""Translates times."""

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mltrainer_cost_optimizer.domain.errors import InvalidFieldError


def to_timestamp(time: datetime) -> Timestamp:
    """Encodes an aware time."""
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def optional_time(message: Message, field: str) -> datetime | None:
    """Decodes a time to aware UTC; None where it is unset.

    Raises:
        InvalidFieldError: No calendar has it.
    """
    if not message.HasField(field):
        return None
    try:
        time: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidFieldError(field, "is outside the years 1 to 9999") from error
    return time


def required_time(message: Message, field: str) -> datetime:
    """Decodes a time to aware UTC.

    Raises:
        InvalidFieldError: It is unset, or no calendar has it.
    """
    time = optional_time(message, field)
    if time is None:
        raise InvalidFieldError(field, "is missing")
    return time
