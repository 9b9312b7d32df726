"""Opens the one write transaction of a use case."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mltrainer_messaging.inbox import SqlInbox
from mltrainer_messaging.outbox import SqlOutbox
from mltrainer_messaging.transactions import EventTransaction, EventTransactions

from mltrainer_cost_optimizer.adapters.ledger import SqlLedger


class SqlUnitOfWork:
    """The ledger, inbox and outbox of one transaction."""

    def __init__(self, transaction: EventTransaction) -> None:
        self.inbox: SqlInbox = transaction.inbox
        self.outbox: SqlOutbox = transaction.outbox
        self.ledger = SqlLedger(transaction.connection)
        self._transaction = transaction

    async def commit(self) -> None:
        """Commits state, inbox and outbox."""
        await self._transaction.commit()


@dataclass(frozen=True, slots=True)
class SqlUnitOfWorkFactory:
    """Opens units of work."""

    transactions: EventTransactions

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[SqlUnitOfWork]:
        """Opens a unit of work; leaving it without `commit()` rolls back."""
        async with self.transactions.open() as transaction:
            yield SqlUnitOfWork(transaction)
