"""Opens the one write transaction of a use case."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mltrainer_common.database import Database, retry_conflicts
from mltrainer_messaging.inbox import SqlInbox
from mltrainer_messaging.outbox import SqlOutbox
from mltrainer_messaging.transactions import EventTransaction, EventTransactions

from mltrainer_experiment.adapters.repositories import SqlExperimentRepository, SqlObservationRepository
from mltrainer_experiment.domain.experiment import Exposure


class SqlUnitOfWork:
    """Repositories that share a transaction."""

    def __init__(self, transaction: EventTransaction) -> None:
        self.inbox: SqlInbox = transaction.inbox
        self.outbox: SqlOutbox = transaction.outbox
        self.experiments = SqlExperimentRepository(transaction.connection)
        self.observations = SqlObservationRepository(transaction.connection)
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


@dataclass(frozen=True, slots=True)
class SqlExposureWriter:
    """Writes exposures without inbox or outbox: they repeat without effect."""

    database: Database

    async def write(self, exposures: Sequence[Exposure]) -> None:
        """Returns when the earliest exposure of each unit is durable."""
        ordered = sorted(exposures, key=lambda one: (one.experiment_id, one.unit))  # no deadlocks

        async def write_once() -> None:
            async with self.database.transaction() as connection:
                await SqlObservationRepository(connection).add_exposures(ordered)

        await retry_conflicts(write_once)
