"""Opens the one transaction in which state, inbox rows and outbox rows of a service commit together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mltrainer_common.clock import Clock, SystemClock
from mltrainer_common.database import Database
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_messaging.inbox import SqlInbox
from mltrainer_messaging.outbox import EncodeEvent, OutboxSignal, SqlOutbox


class EventTransaction:
    """Holds connection, inbox and outbox of one write transaction; rolls back unless `commit` is called."""

    def __init__(
        self, connection: AsyncConnection, inbox: SqlInbox, outbox: SqlOutbox, signal: OutboxSignal
    ) -> None:
        self.connection = connection
        self.inbox = inbox
        self.outbox = outbox
        self._signal = signal

    async def commit(self) -> None:
        """Writes the added events, commits, and wakes the relay."""
        await self.outbox.flush()
        await self.connection.commit()
        if self.outbox.is_used:
            self._signal.notify()


def _as_is(event: Any) -> Any:
    return event


class EventTransactions:
    """Opens event transactions of one service's database.

    `slug` names the service (`ce_source` is `/mltrainer/<slug>`); `encode` turns what use cases add to the
    outbox into contract messages (default: they already are); pass `signal` to the relay as well.
    """

    def __init__(
        self,
        database: Database,
        slug: str,
        signal: OutboxSignal,
        encode: EncodeEvent = _as_is,
        clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._source = f"/mltrainer/{slug}"
        self._signal = signal
        self._encode = encode
        self._clock = clock or SystemClock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[EventTransaction]:
        """Opens a transaction; leaving the block without `commit()` rolls everything back."""
        async with self._database.manual_transaction() as connection:
            yield EventTransaction(
                connection,
                SqlInbox(connection, self._clock),
                SqlOutbox(connection, self._source, self._clock, self._encode),
                self._signal,
            )
