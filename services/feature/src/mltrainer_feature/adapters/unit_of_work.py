"""Opens transactions and snapshots of the service's database."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mltrainer_common.clock import SystemClock
from mltrainer_common.database import Database, DatabaseDialect
from mltrainer_messaging.inbox import SqlInbox
from mltrainer_messaging.outbox import SqlOutbox
from mltrainer_messaging.tables import inbox, outbox
from mltrainer_messaging.transactions import EventTransaction, EventTransactions
from sqlalchemy import String, bindparam, func, insert, select, true
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_feature.adapters.bar_repository import SqlBarRepository
from mltrainer_feature.adapters.definition_repository import SqlDefinitionRepository
from mltrainer_feature.adapters.row_repository import SqlRowRepository
from mltrainer_feature.adapters.sql_session import SqlSession
from mltrainer_feature.adapters.state_repositories import (
    SqlDatasetRepository,
    SqlImportRepository,
    SqlStoreRepository,
)

_INSERT_EVENT = insert(outbox)
_CLAIM = (
    sqlite.insert(inbox)
    .from_select(
        ["consumer", "event_id", "claim_time"],
        select(
            bindparam("consumer", type_=String()),
            func.json_each(bindparam("event_ids", type_=String())).table_valued("value").c.value,
            bindparam("claim_time", type_=inbox.c.claim_time.type),
        ).where(true()),
    )
    .on_conflict_do_nothing()
    .returning(inbox.c.event_id)
)


class SqlRepositories:
    """Everything stored, over one connection."""

    def __init__(self, connection: AsyncConnection, *, locks: bool = False) -> None:
        self._session = SqlSession(connection)
        self.bars = SqlBarRepository(self._session)
        self.rows = SqlRowRepository(self._session)
        self.store = SqlStoreRepository(self._session, locks)
        self.datasets = SqlDatasetRepository(connection)
        self.imports = SqlImportRepository(connection)
        self.definitions = SqlDefinitionRepository(connection)


class SessionInbox:
    """Claims event ids as `SqlInbox` does; in SQLite all of them by one statement, always the same."""

    def __init__(self, session: SqlSession, inbox: SqlInbox) -> None:
        self._session = session
        self._inbox = inbox

    async def claim(self, event_id: str, consumer: str = "default") -> bool:
        """Tells whether this event is new to the consumer, and remembers it."""
        return bool(await self.claim_all([event_id], consumer))

    async def claim_all(self, event_ids: Sequence[str], consumer: str = "default") -> set[str]:
        """Returns which of the ids are new to the consumer, and remembers all of them."""
        if self._session.connection.dialect.name != DatabaseDialect.SQLITE:
            return await self._inbox.claim_all(event_ids, consumer)
        given = {"consumer": consumer, "claim_time": SystemClock().now(), "event_ids": json.dumps(event_ids)}
        return {record.event_id for record in await self._session.fetch(_CLAIM, given)}


class SqlUnitOfWork(SqlRepositories):
    """One write transaction."""

    def __init__(self, transaction: EventTransaction) -> None:
        super().__init__(transaction.connection, locks=True)
        self.inbox = SessionInbox(self._session, transaction.inbox)
        self.outbox: SqlOutbox = transaction.outbox
        self._transaction = transaction

    async def commit(self) -> None:
        """Commits state, inbox and outbox together."""
        rows = self.outbox.take_rows()
        self._session.write(_INSERT_EVENT, *rows.rows)
        await self._session.flush()
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
