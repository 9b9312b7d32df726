"""Keeps attempts in the database."""

from collections.abc import Sequence
from datetime import datetime

from mltrainer_common.database import upsert
from sqlalchemy import ColumnElement, Select, delete, exists, func, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_trainer.adapters.attempt_rows import placement_row, progress_row, to_attempt
from mltrainer_trainer.adapters.tables import attempt as attempts
from mltrainer_trainer.adapters.tables import revoked_allocation as revoked
from mltrainer_trainer.domain.attempt import LIVE_STATES, Attempt

_IS_LIVE: ColumnElement[bool] = attempts.c.state.in_([state.value for state in sorted(LIVE_STATES)])


class SqlAttemptRepository:
    """Reads and writes attempts inside the caller's transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, name: str) -> Attempt | None:
        """Returns an attempt by name."""
        return await self._one(select(attempts).where(attempts.c.name == name))

    async def of_allocation(self, allocation: str) -> Attempt | None:
        """Returns the attempt that an allocation serves."""
        return await self._one(select(attempts).where(attempts.c.allocation == allocation))

    async def highest_token(self, training: str) -> int:
        """Returns the highest fencing token known of a training; 0 where none is."""
        query = select(func.max(attempts.c.fencing_token)).where(attempts.c.training == training)
        return (await self._connection.execute(query)).scalar_one() or 0

    async def live_of(self, training: str) -> Sequence[Attempt]:
        """Returns the attempts of a training that have not ended."""
        query = select(attempts).where(attempts.c.training == training, _IS_LIVE)
        return await fetch_attempts(self._connection, query)

    async def add(self, attempt: Attempt) -> None:
        """Stores a new attempt."""
        values = placement_row(attempt.placement) | progress_row(attempt)
        await self._connection.execute(attempts.insert().values(values))

    async def save(self, attempt: Attempt) -> None:
        """Stores a changed attempt."""
        statement = update(attempts).where(attempts.c.name == attempt.name).values(progress_row(attempt))
        await self._connection.execute(statement)

    async def prolong(self, allocations: Sequence[str], lease_expire_time: datetime) -> None:
        """Stores how long the leases of attempts hold that have no process yet."""
        statement = update(attempts).where(attempts.c.allocation.in_(allocations))
        await self._connection.execute(statement.values(lease_expire_time=lease_expire_time))

    async def revoke(self, allocation: str, reason: str, time: datetime) -> None:
        """Remembers that an allocation was taken back."""
        insert = upsert(self._connection, revoked).values(
            allocation=allocation, reason=reason, revoke_time=time
        )
        await self._connection.execute(insert.on_conflict_do_nothing())

    async def is_revoked(self, allocation: str) -> bool:
        """Tells whether an allocation was taken back."""
        query = select(exists().where(revoked.c.allocation == allocation))
        return bool((await self._connection.execute(query)).scalar_one())

    async def forget_revoked(self, before: datetime) -> None:
        """Forgets allocations taken back before a moment."""
        await self._connection.execute(delete(revoked).where(revoked.c.revoke_time < before))

    async def mark_discarded(self, names: Sequence[str]) -> None:
        """Remembers that nothing is left of attempts."""
        statement = update(attempts).where(attempts.c.name.in_(names)).values(discarded=True)
        await self._connection.execute(statement)

    async def _one(self, query: Select[tuple[object, ...]]) -> Attempt | None:
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return to_attempt(dict(row)) if row is not None else None


async def fetch_attempts(connection: AsyncConnection, query: Select[tuple[object, ...]]) -> Sequence[Attempt]:
    """Reads the attempts that a query finds."""
    rows = await connection.execute(query)
    return [to_attempt(dict(row)) for row in rows.mappings()]


def on_nodes(nodes: str) -> ColumnElement[bool]:
    """Finds what executes on a node, or on all whose names begin so where the name ends with a dot."""
    if nodes.endswith("."):
        return attempts.c.node.startswith(nodes, autoescape=True)
    return attempts.c.node == nodes if nodes else true()


def live(nodes: str) -> Select[tuple[object, ...]]:
    """Finds the attempts that have not ended, oldest first."""
    return select(attempts).where(on_nodes(nodes), _IS_LIVE).order_by(attempts.c.accept_time)


def unfinished(nodes: str) -> Select[tuple[object, ...]]:
    """Finds the attempts that have not ended or whose execution may still be there."""
    query = select(attempts).where(on_nodes(nodes), attempts.c.process_gone.is_(False))
    return query.order_by(attempts.c.accept_time)


def ended_before(nodes: str, before: datetime, limit: int) -> Select[tuple[object, ...]]:
    """Finds attempts that ended before a moment and were not discarded yet."""
    query = select(attempts).where(
        on_nodes(nodes), attempts.c.end_time < before, attempts.c.discarded.is_(False)
    )
    return query.where(attempts.c.process_gone.is_(True)).order_by(attempts.c.end_time).limit(limit)
