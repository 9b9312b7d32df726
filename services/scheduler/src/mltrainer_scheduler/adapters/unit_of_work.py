"""Opens the transactions in which state, inbox and outbox change together, and views for reading."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field

from mltrainer_common.database import Database
from mltrainer_common.telemetry import current_traceparent, use_traceparent
from mltrainer_messaging.outbox import SqlOutbox
from mltrainer_messaging.transactions import EventTransaction, EventTransactions
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_scheduler.adapters.changes import ChangeCounter
from mltrainer_scheduler.adapters.cluster_repository import SqlClusterRepository, SqlKnowledgeRepository
from mltrainer_scheduler.adapters.computation_repository import SqlComputationRepository
from mltrainer_scheduler.adapters.own_commits import OwnCommits
from mltrainer_scheduler.adapters.planning_repository import SqlPlanningRepository
from mltrainer_scheduler.adapters.training_repository import SqlTrainingRepository
from mltrainer_scheduler.domain.events import SchedulerEvent

_TRACE_ID = slice(3, 35)


@dataclass(frozen=True, slots=True)
class TracedOutbox:
    """Adds every event under the trace that its training's request began."""

    outbox: SqlOutbox

    def add(self, event: SchedulerEvent) -> None:
        """Adds an event."""
        with _trace_of(event.training.traceparent):
            self.outbox.add(event)


def _trace_of(traceparent: str | None) -> AbstractContextManager[None]:
    current = current_traceparent()
    # A span of the same trace is nearer to the cause than the request.
    if current and (traceparent is None or current[_TRACE_ID] == traceparent[_TRACE_ID]):
        return nullcontext()
    return use_traceparent(traceparent)


class SqlView:
    """One read-only look."""

    def __init__(self, connection: AsyncConnection, own: OwnCommits) -> None:
        changes = ChangeCounter(connection, own)
        self.trainings = SqlTrainingRepository(connection, changes)
        self.computations = SqlComputationRepository(connection)
        self.cluster = SqlClusterRepository(connection, changes)
        self.knowledge = SqlKnowledgeRepository(connection, changes)
        self.planning = SqlPlanningRepository(connection, changes)


class SqlUnitOfWork:
    """One write transaction."""

    def __init__(self, transaction: EventTransaction, own: OwnCommits) -> None:
        connection = transaction.connection
        changes = ChangeCounter(connection, own)
        self.trainings = SqlTrainingRepository(connection, changes)
        self.computations = SqlComputationRepository(connection)
        self.cluster = SqlClusterRepository(connection, changes)
        self.knowledge = SqlKnowledgeRepository(connection, changes)
        self.planning = SqlPlanningRepository(connection, changes)
        self.inbox = transaction.inbox
        self.outbox = TracedOutbox(transaction.outbox)
        self._transaction = transaction
        self._changes = changes

    async def commit(self) -> None:
        """Makes everything durable at once."""
        await self._transaction.commit()
        self._changes.committed()


@dataclass(frozen=True, slots=True)
class SqlUnitOfWorkFactory:
    """Opens transactions and views of the service's database."""

    database: Database
    transactions: EventTransactions
    own: OwnCommits = field(default_factory=OwnCommits)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[SqlUnitOfWork]:
        """Opens a transaction; leaving without `commit()` undoes it."""
        async with self.transactions.open() as transaction:
            yield SqlUnitOfWork(transaction, self.own)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[SqlView]:
        """Opens a view; it waits for no writer."""
        async with self.database.snapshot() as connection:
            yield SqlView(connection, self.own)

    def own_revision(self) -> int:
        """Returns the number of the last change that this process has committed."""
        return self.own.last
