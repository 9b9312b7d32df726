"""Opens the one write transaction of a use case."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from mltrainer_common.database import DatabaseDialect
from mltrainer_messaging.inbox import SqlInbox
from mltrainer_messaging.transactions import EventTransaction, EventTransactions
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters.change_log import SqlChangeLog
from mltrainer_registry.adapters.deliveries import SqlDeliveryRepository
from mltrainer_registry.adapters.evaluations import NoEvaluations
from mltrainer_registry.adapters.governance import SqlPolicyRepository, SqlPromotionRepository
from mltrainer_registry.adapters.repositories import SqlModelRepository, SqlTrainingRepository
from mltrainer_registry.adapters.uploads import SqlUploadRepository
from mltrainer_registry.application.gate_ports import EvaluationSource
from mltrainer_registry.domain.changes import Progress

AfterCommit = Callable[[Progress], Awaitable[None]]
"""Called with what a committed transaction has added to the change log."""


class SqlUnitOfWork:
    """Repositories that share a transaction."""

    def __init__(
        self,
        transaction: EventTransaction,
        evaluations: EvaluationSource,
        changes: SqlChangeLog | None = None,
    ) -> None:
        self.inbox: SqlInbox = transaction.inbox
        self.models = SqlModelRepository(transaction.connection)
        self.trainings = SqlTrainingRepository(transaction.connection)
        self.uploads = SqlUploadRepository(transaction.connection)
        self.policies = SqlPolicyRepository(transaction.connection)
        self.promotions = SqlPromotionRepository(transaction.connection)
        self.evaluations = evaluations
        self.deliveries = SqlDeliveryRepository(transaction.connection)
        self.changes = changes or SqlChangeLog(transaction.connection, transaction.outbox)
        self.is_committed = False
        self._is_part = changes is not None
        self._transaction = transaction

    async def commit(self) -> None:
        """Commits state, log, inbox and outbox; a part is committed with the whole."""
        if not self._is_part:
            await self.changes.flush()
            await self._transaction.commit()
        self.is_committed = True

    def share(self) -> None:
        """Makes every unit of work that is opened in the current context a part of this one."""
        _ = _shared.set(self)

    @asynccontextmanager
    async def part(self) -> AsyncIterator["SqlUnitOfWork"]:
        """Opens a part, which is undone alone where it is left without a commit."""
        mark, part = self.changes.mark(), SqlUnitOfWork(self._transaction, self.evaluations, self.changes)
        savepoint = await self._transaction.connection.begin_nested()
        try:
            yield part
        finally:
            if part.is_committed:
                await savepoint.commit()
            else:
                await savepoint.rollback()
                self.changes.restore(mark)


@dataclass(frozen=True, slots=True)
class SqlUnitOfWorkFactory:
    """Lets writers take turns, so that revisions and numbers have no gaps and appear in their order."""

    transactions: EventTransactions
    after_commit: AfterCommit
    evaluations: EvaluationSource = field(default_factory=NoEvaluations)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[SqlUnitOfWork]:
        """Opens a unit of work; when it has committed changes, returns after this process holds them."""
        if (whole := _shared.get()) is not None:
            async with whole.part() as part:
                yield part
            return
        async with self.transactions.open() as transaction:
            await _take_turn(transaction.connection)
            uow = SqlUnitOfWork(transaction, self.evaluations)
            yield uow
        if uow.is_committed and (progress := uow.changes.progress) is not None:
            await self.after_commit(progress)


_shared: ContextVar[SqlUnitOfWork | None] = ContextVar("shared_unit_of_work", default=None)


async def _take_turn(connection: AsyncConnection) -> None:
    # SQLite's writers take turns anyway. PostgreSQL takes its snapshot at the first statement that reads, and
    # LOCK TABLE reads nothing: whoever gets the lock sees all that was committed before, and never conflicts.
    if connection.dialect.name == DatabaseDialect.POSTGRESQL:
        await connection.execute(text("LOCK TABLE registry_head IN EXCLUSIVE MODE"))
