"""Publishes what outboxes hold: in order, at least once, by one relay per database at a time."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from google.protobuf.message import Message
from mltrainer_common.clock import Clock, SystemClock
from mltrainer_common.database import (
    Database,
    DatabaseConflictError,
    DatabaseUnavailableError,
    upsert,
)
from sqlalchemy import bindparam, delete, func, select

from mltrainer_messaging.broker import BrokerUnavailableError, EventBroker
from mltrainer_messaging.inbox import DEFAULT_RETENTION, prune_inbox
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.outbox import OutboxSignal, stored_event
from mltrainer_messaging.tables import outbox, outbox_lease
from mltrainer_messaging.topics import topic_of

_log = structlog.get_logger(__name__)

# So long nothing is published after the holder was killed (ADR 0009).
_LEASE = timedelta(seconds=5)
_LEASE_NAME = "relay"
_MAX_BATCH = 1_000
_MAX_BACKOFF_S = 1.0
_PRUNE_INTERVAL_S = 3_600.0
_PAUSE_S = 0.02
_SELECT = select(outbox).order_by(outbox.c.id).limit(_MAX_BATCH)
_DELETE = delete(outbox).where(outbox.c.id.in_(bindparam("ids", expanding=True)))


class OutboxRelay:
    """Moves rows from the outbox to the broker; several relays may run, the holder of the lease row works.

    `events` are the types this service publishes: their topics are created at the start. `holder` names this
    process across restarts (service and instance), so that a restarted relay resumes without waiting.
    """

    def __init__(
        self,
        database: Database,
        broker: EventBroker,
        signal: OutboxSignal,
        events: Sequence[type[Message]] = (),
        *,
        service: str,
        instance: str = "0",
        instruments: EventInstruments | None = None,
        clock: Clock | None = None,
        poll_s: float = 0.5,
    ) -> None:
        self._database = database
        self._broker = broker
        self._signal = signal
        self._topics = [topic_of(event) for event in events]
        self._holder = f"{service}-{instance}"
        self._clock = clock or SystemClock()
        self._poll_s = poll_s
        self._renew_at_s = 0.0
        self._prune_at_s = 0.0
        instruments = instruments or EventInstruments()
        self._published = instruments.published.labels(service)
        self._depth = instruments.outbox_depth.labels(service)

    async def run(self) -> None:
        """Relays until cancelled; survives the absence of broker and database."""
        failures = 0
        while True:
            try:
                await self._broker.ensure_topics(self._topics)
                failures = 0
                await self._relay_forever()
            except (BrokerUnavailableError, DatabaseUnavailableError, DatabaseConflictError) as error:
                failures += 1
                _log.warning("relay_waits", holder=self._holder, failures=failures, error=str(error))
                await asyncio.sleep(min(0.1 * 2 ** min(failures, 10), _MAX_BACKOFF_S))

    async def relay_once(self) -> int:
        """Publishes one batch and returns its size; 0 if nothing waits or another relay holds the lease."""
        rows = await self._read()
        if not rows:
            return 0
        if time.monotonic() >= self._renew_at_s:
            if not await self._acquire():
                return 0
            # Another relay may have published the rows while it still held the lease.
            rows = await self._read()
        await self._broker.publisher.publish([stored_event(row) for row in rows])
        # By id, never by range: on PostgreSQL a smaller id may have been committed after the read.
        ids = [row.id for row in rows]
        async with self._database.single_statement() as connection:
            await connection.execute(_DELETE, {"ids": ids})
        self._published.inc(len(rows))
        return len(rows)

    async def _relay_forever(self) -> None:
        while True:
            published = await self.relay_once()
            if published == _MAX_BATCH:
                continue
            await self._prune()
            if published > 1:
                # A batch costs as much as dozens of its events: where they come in crowds, more share one.
                await asyncio.sleep(_PAUSE_S)
            await self._signal.wait(self._poll_s)

    async def _read(self) -> Sequence[Any]:
        async with self._database.single_read() as connection:
            rows = (await connection.execute(_SELECT)).all()
            depth = len(rows)
            if depth == _MAX_BATCH:
                depth = await connection.scalar(select(func.count()).select_from(outbox)) or depth
        self._depth.set(depth)
        return rows

    async def _acquire(self) -> bool:
        now, started_s = self._clock.now(), time.monotonic()
        values = {"holder": self._holder, "expire_time": now + _LEASE}
        async with self._database.transaction() as connection:
            insert = upsert(connection, outbox_lease).values(name=_LEASE_NAME, **values)
            is_free = (outbox_lease.c.holder == self._holder) | (outbox_lease.c.expire_time < now)
            result = await connection.execute(
                insert.on_conflict_do_update(index_elements=["name"], set_=values, where=is_free)
            )
        if result.rowcount != 1:
            return False
        self._renew_at_s = started_s + _LEASE.total_seconds() / 3
        return True

    async def _prune(self) -> None:
        if time.monotonic() >= self._prune_at_s:
            self._prune_at_s = time.monotonic() + _PRUNE_INTERVAL_S
            await prune_inbox(self._database, self._clock.now() - DEFAULT_RETENTION)
