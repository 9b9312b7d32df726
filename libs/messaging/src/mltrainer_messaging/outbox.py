"""Stores events in the transaction of the state they tell about; the relay publishes them afterwards."""

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from mltrainer_common.clock import Clock
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_messaging.envelope import OutgoingEvent

EncodeEvent = Callable[[Any], Message]
"""Turns what a use case adds to the outbox (a domain event) into its contract message; lives in `wire`."""


class OutboxSignal:
    """Wakes the relay of the same process after a commit."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Says that the outbox may have rows."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Returns at the next notification, or after the time."""
        raise NotImplementedError


class SqlOutbox:
    """Collects events and writes them, in order, inside the caller's transaction."""

    def __init__(self, connection: AsyncConnection, source: str, clock: Clock, encode: EncodeEvent) -> None:
        self._connection = connection
        self._source = source
        self._clock = clock
        self._encode = encode
        self._pending: list[OutgoingEvent] = []

    def add(self, event: Any, event_id: str | None = None) -> str:
        """Adds an event, with the current trace, and returns its id.

        Raises:
            EventTooLargeError: The event exceeds 1 MiB.
        """
        raise NotImplementedError

    async def flush(self) -> int:
        """Writes what was added and returns how many rows; the transaction does this before it commits."""
        raise NotImplementedError
