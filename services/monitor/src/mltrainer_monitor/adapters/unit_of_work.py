"""Opens the transactions in which state, inbox and outbox change together, and views for reading."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mltrainer_common.database import Database
from mltrainer_messaging.inbox import SqlInbox
from mltrainer_messaging.outbox import SqlOutbox
from mltrainer_messaging.transactions import EventTransaction, EventTransactions
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_monitor.adapters.model_repository import SqlModelRepository
from mltrainer_monitor.adapters.objective_repository import SqlObjectiveRepository


class SqlView:
    """One read-only look."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.models = SqlModelRepository(connection)
        self.objectives = SqlObjectiveRepository(connection)


class SqlUnitOfWork(SqlView):
    """One write transaction."""

    def __init__(self, transaction: EventTransaction) -> None:
        super().__init__(transaction.connection)
        self.inbox: SqlInbox = transaction.inbox
        self.outbox: SqlOutbox = transaction.outbox
        self._transaction = transaction

    async def commit(self) -> None:
        """Makes everything durable at once."""
        await self._transaction.commit()


@dataclass(frozen=True, slots=True)
class SqlUnitOfWorkFactory:
    """Opens transactions and views of the service's database."""

    database: Database
    transactions: EventTransactions

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[SqlUnitOfWork]:
        """Opens a transaction; leaving without `commit()` undoes it."""
        async with self.transactions.open() as transaction:
            yield SqlUnitOfWork(transaction)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[SqlView]:
        """Opens a view; it waits for no writer."""
        async with self.database.snapshot() as connection:
            yield SqlView(connection)
