"""Keeps trainings and computations in tables."""

from collections.abc import Collection
from datetime import datetime

from mltrainer_common.database import DatabaseConflictError, upsert
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_scheduler.adapters.rows import changing_columns, to_training, to_waiting, training_row
from mltrainer_scheduler.adapters.tables import computation, training
from mltrainer_scheduler.application.ports import Waiting
from mltrainer_scheduler.domain.training import Computation, ComputationId, Training, TrainingState

_COLUMNS_OF_WAITING = (
    training.c.name,
    training.c.queue,
    training.c.priority,
    training.c.cpu_millis,
    training.c.memory_bytes,
    training.c.gpu_millis,
    training.c.gpu_type,
    training.c.gang_workers,
    training.c.allows_spot,
    training.c.reason,
)
# Below the number of parameters that a statement may have.
_CHUNK = 500


class SqlTrainingRepository:
    """Keeps trainings inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, name: str) -> Training | None:
        """Returns a training."""
        query = select(training).where(training.c.name == name)
        row = (await self._connection.execute(query)).one_or_none()
        return to_training(row) if row else None

    async def of_request(self, request_id: str) -> Training | None:
        """Returns the training of a producer's request."""
        query = select(training).where(training.c.request_id == request_id)
        row = (await self._connection.execute(query)).one_or_none()
        return to_training(row) if row else None

    async def known_requests(self, request_ids: Collection[str]) -> set[str]:
        """Returns which request ids have a training."""
        known: set[str] = set()
        ordered = sorted(request_ids)
        for start in range(0, len(ordered), _CHUNK):
            wanted = ordered[start : start + _CHUNK]
            query = select(training.c.request_id).where(training.c.request_id.in_(wanted))
            known.update((await self._connection.execute(query)).scalars())
        return known

    async def add(self, new: Training) -> None:
        """Stores a new training.

        Raises:
            DatabaseConflictError: Its request id was stored concurrently.
        """
        statement = upsert(self._connection, training).values(training_row(new)).on_conflict_do_nothing()
        if (await self._connection.execute(statement)).rowcount != 1:
            raise DatabaseConflictError(f"request {new.request_id!r} was stored concurrently")

    async def save(self, changed: Training, previous_revision: int) -> None:
        """Replaces a training.

        Raises:
            DatabaseConflictError: It is not at the previous revision any more.
        """
        statement = (
            update(training)
            .where(training.c.name == changed.name, training.c.revision == previous_revision)
            .values(changing_columns(changed))
        )
        if (await self._connection.execute(statement)).rowcount != 1:
            raise DatabaseConflictError(f"{changed.name} has changed since revision {previous_revision}")

    async def is_any_waiting(self, ready_before: datetime) -> bool:
        """Tells whether a queued training wants to be looked at."""
        query = select(training.c.name).where(_ready(ready_before)).limit(1)
        return (await self._connection.execute(query)).first() is not None

    async def unsettled(self, ready_before: datetime, limit: int) -> list[Training]:
        """Returns queued trainings without a key or past their deadline, oldest first."""
        query = select(training).where(_ready(ready_before), ~_settled(ready_before))
        rows = await self._connection.execute(query.order_by(training.c.name).limit(limit))
        return [to_training(row) for row in rows]

    async def waiting(self, ready_before: datetime, limit: int) -> list[Waiting]:
        """Returns the other queued trainings, which may be placed, the first of every queue first."""
        position = func.row_number().over(
            partition_by=training.c.queue, order_by=(training.c.priority.desc(), training.c.name)
        )
        ready = (
            select(*_COLUMNS_OF_WAITING, position.label("position"))
            .where(_ready(ready_before), _settled(ready_before))
            .subquery()
        )
        query = select(ready).order_by(ready.c.position, ready.c.queue).limit(limit)
        return [to_waiting(row) for row in await self._connection.execute(query)]

    async def joined_to(self, wanted: ComputationId) -> list[Training]:
        """Returns the trainings that wait for a result, oldest first."""
        query = (
            select(training)
            .where(
                training.c.state == TrainingState.JOINED,
                training.c.computation_key == wanted.key,
                training.c.study == wanted.study,
                training.c.propose_alias == wanted.propose_alias,
            )
            .order_by(training.c.name)
        )
        return [to_training(row) for row in await self._connection.execute(query)]

    async def page(
        self, limit: int, before: str, study: str, states: Collection[TrainingState]
    ) -> list[Training]:
        """Returns trainings older than a name, newest first; an empty argument does not restrict."""
        query = select(training).order_by(training.c.name.desc()).limit(limit)
        if before:
            query = query.where(training.c.name < before)
        if study:
            query = query.where(training.c.study == study)
        if states:
            query = query.where(training.c.state.in_(sorted(states)))
        return [to_training(row) for row in await self._connection.execute(query)]


class SqlComputationRepository:
    """Keeps computations inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, wanted: ComputationId) -> Computation | None:
        """Returns a computation."""
        query = select(computation).where(_is(wanted))
        row = (await self._connection.execute(query)).one_or_none()
        return Computation(wanted, row.leader, row.manifest_digest, row.revision) if row else None

    async def add(self, new: Computation) -> None:
        """Stores a new computation.

        Raises:
            DatabaseConflictError: Somebody else began it concurrently.
        """
        values = {
            "study": new.id.study,
            "propose_alias": new.id.propose_alias,
            "computation_key": new.id.key,
            "leader": new.leader,
            "manifest_digest": new.manifest_digest,
            "revision": new.revision,
        }
        statement = upsert(self._connection, computation).values(values).on_conflict_do_nothing()
        if (await self._connection.execute(statement)).rowcount != 1:
            raise DatabaseConflictError(f"computation {new.id.key} was begun concurrently")

    async def save(self, changed: Computation, previous_revision: int) -> None:
        """Replaces a computation.

        Raises:
            DatabaseConflictError: It is not at the previous revision any more.
        """
        statement = (
            update(computation)
            .where(_is(changed.id), computation.c.revision == previous_revision)
            .values(leader=changed.leader, manifest_digest=changed.manifest_digest, revision=changed.revision)
        )
        if (await self._connection.execute(statement)).rowcount != 1:
            raise DatabaseConflictError(f"computation {changed.id.key} has changed")

    async def remove(self, old: Computation) -> None:
        """Forgets a computation that nobody does any more.

        Raises:
            DatabaseConflictError: Somebody joined it concurrently.
        """
        statement = delete(computation).where(_is(old.id), computation.c.revision == old.revision)
        if (await self._connection.execute(statement)).rowcount != 1:
            raise DatabaseConflictError(f"computation {old.id.key} has changed")


def _ready(now: datetime) -> ColumnElement[bool]:
    return and_(training.c.state == TrainingState.QUEUED, training.c.ready_time <= now)


def _settled(now: datetime) -> ColumnElement[bool]:
    is_on_time = or_(training.c.deadline_time.is_(None), training.c.deadline_time > now)
    return and_(training.c.computation_key != "", is_on_time)


def _is(wanted: ComputationId) -> ColumnElement[bool]:
    return and_(
        computation.c.study == wanted.study,
        computation.c.propose_alias == wanted.propose_alias,
        computation.c.computation_key == wanted.key,
    )
