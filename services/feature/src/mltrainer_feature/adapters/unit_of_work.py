"""Opens transactions and snapshots of the service's database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mltrainer_common.database import Database
from mltrainer_messaging.inbox import SqlInbox
from mltrainer_messaging.outbox import SqlOutbox
from mltrainer_messaging.transactions import EventTransaction, EventTransactions
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_feature.adapters.bar_repository import SqlBarRepository
from mltrainer_feature.adapters.row_repository import SqlRowRepository
from mltrainer_feature.adapters.state_repositories import (
    SqlDatasetRepository,
    SqlImportRepository,
    SqlStoreRepository,
)


class SqlRepositories:
    """Everything stored, over one connection."""

    def __init__(self, connection: AsyncConnection, *, locks: bool = False) -> None:
        self.bars = SqlBarRepository(connection)
        self.rows = SqlRowRepository(connection)
        self.store = SqlStoreRepository(connection, locks)
        self.datasets = SqlDatasetRepository(connection)
        self.imports = SqlImportRepository(connection)


class SqlUnitOfWork(SqlRepositories):
    """One write transaction."""

    def __init__(self, transaction: EventTransaction) -> None:
        super().__init__(transaction.connection, locks=True)
        self.inbox: SqlInbox = transaction.inbox
        self.outbox: SqlOutbox = transaction.outbox
        self._transaction = transaction

    async def commit(self) -> None:
        """Commits state, inbox and outbox together."""
        await self._transaction.commit()


@dataclass(frozen=True, slots=True)
class SqlUnitOfWorkFactory:
    """Implements `UnitOfWorkFactory`."""

    transactions: EventTransactions
    database: Database

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[SqlUnitOfWork]:
        """Opens a write transaction; leaving it without `commit` rolls back."""
        async with self.transactions.open() as transaction:
            yield SqlUnitOfWork(transaction)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqlRepositories]:
        """Opens a read-only view of one moment."""
        async with self.database.snapshot() as connection:
            yield SqlRepositories(connection)
