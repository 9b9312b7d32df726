"""Opens the transactions in which attempts, studies, steps, inbox and outbox change together."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

from mltrainer_common.telemetry import current_traceparent, use_traceparent
from mltrainer_messaging.inbox import SqlInbox
from mltrainer_messaging.outbox import SqlOutbox
from mltrainer_messaging.transactions import EventTransaction, EventTransactions

from mltrainer_trainer.adapters.attempt_repository import SqlAttemptRepository
from mltrainer_trainer.adapters.step_repository import SqlStepRepository
from mltrainer_trainer.adapters.study_repository import SqlStudyRepository
from mltrainer_trainer.domain.attempt import AttemptEvent
from mltrainer_trainer.domain.release import NodeReport, Release


@dataclass(frozen=True, slots=True)
class TracedOutbox:
    """Adds events under the trace being handled, or else under that of the attempt they tell of."""

    outbox: SqlOutbox

    def add(self, event: AttemptEvent | Release | NodeReport) -> None:
        """Adds an event."""
        with _trace_of(event):
            self.outbox.add(event)


def _trace_of(event: AttemptEvent | Release | NodeReport) -> AbstractContextManager[None]:
    if isinstance(event, Release | NodeReport) or current_traceparent() is not None:
        return nullcontext()
    return use_traceparent(event.attempt.placement.traceparent)


@dataclass(frozen=True, slots=True)
class DefaultInbox:
    """Claims events for the one consumer of this service."""

    inbox: SqlInbox

    async def claim(self, event_id: str) -> bool:
        """Tells whether the event is new, and remembers it."""
        return await self.inbox.claim(event_id)


class SqlUnitOfWork:
    """One write transaction."""

    def __init__(self, transaction: EventTransaction) -> None:
        self.attempts = SqlAttemptRepository(transaction.connection)
        self.studies = SqlStudyRepository(transaction.connection)
        self.steps = SqlStepRepository(transaction.connection)
        self.inbox = DefaultInbox(transaction.inbox)
        self.outbox = TracedOutbox(transaction.outbox)
        self._transaction = transaction

    async def commit(self) -> None:
        """Makes everything durable at once."""
        await self._transaction.commit()


@dataclass(frozen=True, slots=True)
class SqlUnitOfWorkFactory:
    """Opens units of work."""

    transactions: EventTransactions

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[SqlUnitOfWork]:
        """Opens one; leaving without `commit` rolls back."""
        async with self.transactions.open() as transaction:
            yield SqlUnitOfWork(transaction)
