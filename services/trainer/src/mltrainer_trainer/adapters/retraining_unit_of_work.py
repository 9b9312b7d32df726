"""Opens the transactions in which retrainings, their runs, inbox and outbox change together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mltrainer_messaging.inbox import SqlInbox
from mltrainer_messaging.outbox import SqlOutbox
from mltrainer_messaging.transactions import EventTransaction, EventTransactions

from mltrainer_trainer.adapters.retraining_repository import SqlRetrainingRepository
from mltrainer_trainer.domain.retraining import TrainingWanted

_CONSUMER = "retrainings"


@dataclass(frozen=True, slots=True)
class RetrainingInbox:
    """Claims events for retrainings."""

    inbox: SqlInbox

    async def claim(self, event_id: str) -> bool:
        """Tells whether the event is new, and remembers it."""
        return await self.inbox.claim(event_id, _CONSUMER)


@dataclass(frozen=True, slots=True)
class RetrainingOutbox:
    """Publishes what runs ask for."""

    outbox: SqlOutbox

    def add(self, event: TrainingWanted) -> None:
        """Adds a request."""
        self.outbox.add(event)


class SqlRetrainingUnitOfWork:
    """One write transaction."""

    def __init__(self, transaction: EventTransaction) -> None:
        self.retrainings = SqlRetrainingRepository(transaction.connection)
        self.inbox = RetrainingInbox(transaction.inbox)
        self.outbox = RetrainingOutbox(transaction.outbox)
        self._transaction = transaction

    async def commit(self) -> None:
        """Makes everything durable at once."""
        await self._transaction.commit()


@dataclass(frozen=True, slots=True)
class SqlRetrainingUnitOfWorkFactory:
    """Opens units of work."""

    transactions: EventTransactions

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[SqlRetrainingUnitOfWork]:
        """Opens one; leaving without `commit` rolls back."""
        async with self.transactions.open() as transaction:
            yield SqlRetrainingUnitOfWork(transaction)
