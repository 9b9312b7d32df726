"""The smallest complete service: it books every closed bar once and announces the booking.

Messaging is tested with it, in one process on the in-memory broker and as processes that are killed:
`python -m mltrainer_testkit.ledger BOOTSTRAP_SERVERS DATABASE_URL` dies at every bar that closes below zero.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from mltrainer.feature.v1.events_pb2 import BarClosed, FeaturesMaterialized
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.subscriptions import ConsumerGroup, FailurePolicy, subscribe, subscribe_batch
from mltrainer_messaging.transactions import EventTransaction, EventTransactions
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, insert, select

BOOKING = Table(
    "booking",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("event_id", String),
    Column("symbol", String),
    Column("close", Float),
)

Hook = Callable[[BarClosed], Awaitable[None]]
_QUICK = FailurePolicy(first_backoff_s=0.001, max_backoff_s=0.01, transient_limit_s=0.2)


async def _nothing(bar: BarClosed) -> None:
    """Lets the bar pass."""


@dataclass
class Ledger:
    """Books bars; the hooks let a test fail or wait around the booking.

    Attributes:
        before: Runs inside the transaction, before the booking.
        after: Runs after the commit.
        calls: Symbols of all handled events, in order, repeats included.
    """

    database: Database
    signal: OutboxSignal
    before: Hook = _nothing
    after: Hook = _nothing

    def __post_init__(self) -> None:
        self.transactions = EventTransactions(self.database, "ledger", self.signal)
        self.calls: list[str] = []

    async def on_bar(self, event: Event[BarClosed]) -> None:
        """Books one bar in a transaction of its own."""
        await self.on_bars([event])

    async def on_bars(self, events: Sequence[Event[BarClosed]]) -> None:
        """Books several bars in one transaction."""
        async with self.transactions.open() as transaction:
            new = await transaction.inbox.claim_all([event.id for event in events], "ledger")
            for event in events:
                self.calls.append(event.message.symbol)
                await self.before(event.message)
            await self._book(transaction, [event for event in events if event.id in new])
            await transaction.commit()
        for event in events:
            await self.after(event.message)

    async def booked(self) -> list[tuple[str, float]]:
        """Returns what the ledger holds, in order."""
        query = select(BOOKING.c.symbol, BOOKING.c.close).order_by(BOOKING.c.id)
        async with self.database.snapshot() as connection:
            return [(row.symbol, row.close) for row in await connection.execute(query)]

    def group(self, *, in_batches: bool = False, failures: FailurePolicy = _QUICK) -> ConsumerGroup:
        """Describes what the ledger reads."""
        subscription = (
            subscribe_batch(BarClosed, self.on_bars) if in_batches else subscribe(BarClosed, self.on_bar)
        )
        return ConsumerGroup("ledger", (subscription,), self.database, failures=failures)

    async def _book(self, transaction: EventTransaction, events: Sequence[Event[BarClosed]]) -> None:
        rows = [{"event_id": e.id, "symbol": e.message.symbol, "close": e.message.close} for e in events]
        if rows:
            await transaction.connection.execute(insert(BOOKING), rows)
        for event in events:
            bar = event.message
            transaction.outbox.add(FeaturesMaterialized(feature_view=bar.symbol, row_count=int(bar.close)))


@asynccontextmanager
async def open_ledger(url: str) -> AsyncIterator[Ledger]:
    """Opens a ledger that is not connected to any broker."""
    await migrate(url, "mltrainer_testkit.ledger_migrations")
    async with open_database(url) as database:
        yield Ledger(database, OutboxSignal())


async def run_ledger(ledger: Ledger, broker: EventBroker, group: ConsumerGroup | None = None) -> None:
    """Consumes and relays until cancelled."""
    relay = OutboxRelay(
        ledger.database, broker, ledger.signal, [FeaturesMaterialized], service="ledger", poll_s=0.05
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(broker.consume(group or ledger.group()))
        tasks.create_task(relay.run())


@asynccontextmanager
async def running(
    ledger: Ledger, broker: EventBroker, group: ConsumerGroup | None = None
) -> AsyncIterator[None]:
    """Runs the ledger in the background of the block."""
    task = asyncio.create_task(run_ledger(ledger, broker, group))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _main(bootstrap_servers: str, url: str) -> None:
    async def die(bar: BarClosed) -> None:
        if bar.close < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async with open_ledger(url) as ledger, KafkaBroker(bootstrap_servers, "ledger") as broker:
        ledger.before = die
        failures = replace(_QUICK, max_process_deaths=2)
        await run_ledger(ledger, broker, replace(ledger.group(failures=failures), max_batch=50))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
