"""Keeps trainings in a table."""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from mltrainer_common.database import DatabaseConflictError, upsert
from sqlalchemy import Update, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_scheduler.adapters.changes import ChangeCounter
from mltrainer_scheduler.adapters.rows import changing_columns, to_training, training_row
from mltrainer_scheduler.adapters.tables import training
from mltrainer_scheduler.domain.training import ComputationId, Training, TrainingState

# Below the number of parameters that a statement may have.
_CHUNK = 500
_ONE = select(training).where(training.c.name == bindparam("name"))
_NAMED = select(training).where(training.c.name.in_(bindparam("names", expanding=True)))


@cache
def _replacing(parameters: tuple[str, ...]) -> Update:
    columns = [name.removeprefix("new_") for name in parameters if name.startswith("new_")]
    statement = update(training).where(training.c.name == bindparam("key"))
    if "previous_revision" in parameters:
        statement = statement.where(training.c.revision == bindparam("previous_revision"))
    return statement.values({name: bindparam(f"new_{name}") for name in columns})


def _new_values(changed: Training, number: int) -> dict[str, Any]:
    values = {f"new_{name}": value for name, value in changing_columns(changed).items()}
    return values | {"key": changed.name, "new_change": number}


class SqlTrainingRepository:
    """Keeps trainings inside one transaction."""

    def __init__(self, connection: AsyncConnection, changes: ChangeCounter) -> None:
        self._connection = connection
        self._changes = changes

    async def get(self, name: str) -> Training | None:
        """Returns a training."""
        row = (await self._connection.execute(_ONE, {"name": name})).one_or_none()
        return to_training(row) if row else None

    async def get_all(self, names: Collection[str]) -> dict[str, Training]:
        """Returns the trainings that exist by name."""
        found: dict[str, Training] = {}
        ordered = sorted(names)
        for start in range(0, len(ordered), _CHUNK):
            chunk = {"names": ordered[start : start + _CHUNK]}
            found |= {row.name: to_training(row) for row in await self._connection.execute(_NAMED, chunk)}
        return found

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

    async def add_all(self, new: Sequence[Training]) -> None:
        """Stores new trainings.

        Raises:
            DatabaseConflictError: A request id was stored concurrently.
        """
        if not new:
            return
        number = await self._changes.number()
        rows = [training_row(one) | {"change": number} for one in new]
        # The rows as parameters: a statement that holds forty values costs more than storing them.
        statement = upsert(self._connection, training).on_conflict_do_nothing().returning(training.c.name)
        if len((await self._connection.execute(statement, rows)).all()) != len(rows):
            raise DatabaseConflictError("a request was stored concurrently")
        for one in new:
            self._changes.written.save(one)

    async def save(self, changed: Training, previous_revision: int) -> None:
        """Replaces a training.

        Raises:
            DatabaseConflictError: It is not at the previous revision any more.
        """
        values = _new_values(changed, await self._changes.number())
        values["previous_revision"] = previous_revision
        if (await self._connection.execute(_replacing(tuple(values)), values)).rowcount != 1:
            raise DatabaseConflictError(f"{changed.name} has changed since revision {previous_revision}")
        self._changes.written.save(changed)

    async def save_all(self, changed: Sequence[Training]) -> None:
        """Replaces trainings that were read under the lock of the cluster, where nobody else changes them."""
        if not changed:
            return
        number = await self._changes.number()
        rows = [_new_values(one, number) for one in changed]
        for one in changed:
            self._changes.written.save(one)
        await self._connection.execute(_replacing(tuple(rows[0])), rows)

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
