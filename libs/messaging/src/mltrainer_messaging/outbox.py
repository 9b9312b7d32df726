"""Stores events in the transaction of the state they tell about; the relay publishes them afterwards."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from google.protobuf.message import Message
from mltrainer_common.bulk import Rows, write_rows
from mltrainer_common.clock import Clock
from mltrainer_common.ids import new_id
from mltrainer_common.traces import current_traceparent
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_messaging.envelope import OutgoingEvent, encode_event
from mltrainer_messaging.tables import outbox

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
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        self._event.clear()


class SqlOutbox:
    """Collects events and writes them, in order, inside the caller's transaction.

    `is_used` says whether the transaction has events for the relay.
    """

    def __init__(self, connection: AsyncConnection, source: str, clock: Clock, encode: EncodeEvent) -> None:
        self._connection = connection
        self._source = source
        self._clock = clock
        self._encode = encode
        self._pending: list[OutgoingEvent] = []
        self.is_used = False

    def add(self, event: Any, event_id: str | None = None) -> str:
        """Adds an event, with the current trace, and returns its id.

        Raises:
            EventTooLargeError: The event exceeds 1 MiB.
        """
        event_id = event_id or new_id()
        encoded = encode_event(
            self._encode(event),
            source=self._source,
            event_id=event_id,
            time=self._clock.now(),
            traceparent=current_traceparent(),
        )
        self._pending.append(encoded)
        self.is_used = True
        return event_id

    def take_rows(self) -> Rows:
        """Returns what was added for a caller who writes it together with rows of its own."""
        rows = [_row(event) for event in self._pending]
        self._pending.clear()
        return Rows(outbox, rows)

    async def flush(self) -> None:
        """Writes what was added; the transaction does this before it commits."""
        await write_rows(self._connection, self.take_rows())


def _row(event: OutgoingEvent) -> dict[str, Any]:
    headers = {name: (value or b"").decode() for name, value in event.headers}
    return {"topic": event.topic, "key": event.key, "value": event.value, "headers": json.dumps(headers)}


def stored_event(row: Any) -> OutgoingEvent:
    """Restores an event from its outbox row."""
    headers = tuple((name, text.encode()) for name, text in json.loads(row.headers).items())
    return OutgoingEvent(row.topic, row.key, row.value, headers)
