"""Writes logged predictions to the outbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mltrainer_messaging.transactions import EventTransaction, EventTransactions

from mltrainer_serving.application.ports import Prediction


@dataclass(frozen=True, slots=True)
class _OutboxTransaction:
    transaction: EventTransaction

    def add(self, prediction: Prediction) -> None:
        self.transaction.outbox.add(prediction)

    async def commit(self) -> None:
        await self.transaction.commit()


@dataclass(frozen=True, slots=True)
class OutboxPredictionSink:
    """Makes each prediction an event of the outbox."""

    transactions: EventTransactions

    @asynccontextmanager
    async def open(self) -> AsyncIterator[_OutboxTransaction]:
        """Opens a transaction."""
        async with self.transactions.open() as transaction:
            yield _OutboxTransaction(transaction)
