"""Keeps retrainings and their runs in the database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mltrainer_common.database import DatabaseConflictError, upsert
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_trainer.adapters.tables import retraining as retrainings
from mltrainer_trainer.adapters.tables import retraining_run as runs
from mltrainer_trainer.domain.retraining import Cause, Retraining, Run, RunState

_OPEN = [state.value for state in RunState if state.is_open]


class SqlRetrainingRepository:
    """Reads and writes inside the caller's transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, name: str) -> Retraining | None:
        """Returns a retraining by name."""
        query = select(retrainings).where(retrainings.c.name == name)
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return _to_retraining(row) if row is not None else None

    async def add(self, new: Retraining) -> bool:
        """Stores a new one; False where the name is taken."""
        insert = upsert(self._connection, retrainings).values(_row(new)).on_conflict_do_nothing()
        return (await self._connection.execute(insert)).rowcount == 1

    async def save(self, changed: Retraining, previous_revision: int) -> None:
        """Replaces one.

        Raises:
            DatabaseConflictError: It is not at the previous revision any more.
        """
        statement = (
            update(retrainings)
            .where(retrainings.c.name == changed.name, retrainings.c.revision == previous_revision)
            .values(_row(changed))
        )
        if (await self._connection.execute(statement)).rowcount != 1:
            raise DatabaseConflictError(f"{changed.name} has changed since revision {previous_revision}")

    async def remove(self, name: str) -> None:
        """Forgets one; its runs stay."""
        await self._connection.execute(delete(retrainings).where(retrainings.c.name == name))

    async def page(self, limit: int, after: str) -> list[Retraining]:
        """Returns retrainings by name."""
        query = select(retrainings).where(retrainings.c.name > after).order_by(retrainings.c.name)
        rows = (await self._connection.execute(query.limit(limit))).mappings()
        return [_to_retraining(row) for row in rows]

    async def due(self, now: datetime) -> list[Retraining]:
        """Returns those whose calendar begins a run."""
        rows = (
            await self._connection.execute(select(retrainings).where(retrainings.c.next_run_time <= now))
        ).mappings()
        return [_to_retraining(row) for row in rows]

    async def on_drift_of(self, model: str) -> list[Retraining]:
        """Returns those that a model's drift begins."""
        query = select(retrainings).where(
            retrainings.c.model == model, retrainings.c.on_drift.is_(True), retrainings.c.is_paused.is_(False)
        )
        return [_to_retraining(row) for row in (await self._connection.execute(query)).mappings()]

    async def run(self, name: str) -> Run | None:
        """Returns a run by name."""
        return await self._one_run(runs.c.name == name)

    async def run_of_request(self, request_id: str) -> Run | None:
        """Returns the run that a training was asked for by."""
        return await self._one_run(runs.c.request_id == request_id)

    async def last_run(self, retraining: str) -> Run | None:
        """Returns the newest run that asked for a training."""
        query = (
            select(runs)
            .where(runs.c.retraining == retraining, runs.c.state != RunState.SKIPPED.value)
            .order_by(runs.c.due_time.desc(), runs.c.name.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return _to_run(row) if row is not None else None

    async def add_run(self, new: Run) -> bool:
        """Stores a new run; False where its cause has begun one already."""
        insert = upsert(self._connection, runs).values(_run_row(new)).on_conflict_do_nothing()
        return (await self._connection.execute(insert)).rowcount == 1

    async def save_run(self, changed: Run) -> None:
        """Replaces a run."""
        await self._connection.execute(
            update(runs).where(runs.c.name == changed.name).values(_run_row(changed))
        )

    async def open_runs(self) -> list[Run]:
        """Returns runs of which something may still come."""
        query = select(runs).where(runs.c.state.in_(_OPEN)).order_by(runs.c.name)
        return [_to_run(row) for row in (await self._connection.execute(query)).mappings()]

    async def run_page(self, retraining: str, limit: int, before: str) -> Sequence[tuple[str, Run]]:
        """Returns runs, newest first, with the marks that pages continue from."""
        mark = runs.c.position
        query = select(runs).order_by(mark.desc()).limit(limit)
        if retraining:
            query = query.where(runs.c.retraining == retraining)
        if before:
            query = query.where(mark < int(before))
        rows = (await self._connection.execute(query)).mappings()
        return [(str(row["position"]), _to_run(row)) for row in rows]

    async def _one_run(self, condition: Any) -> Run | None:
        row = (await self._connection.execute(select(runs).where(condition))).mappings().one_or_none()
        return _to_run(row) if row is not None else None


_FIELDS = (
    "name",
    "spec",
    "model",
    "schedule",
    "time_zone",
    "calendar",
    "on_drift",
    "test_days",
    "champion",
    "challenger",
    "traffic",
    "metric",
    "cooldown_s",
    "is_paused",
    "create_time",
    "next_run_time",
    "revision",
)
_RUN_FIELDS = (
    "name",
    "retraining",
    "due_time",
    "update_time",
    "request_id",
    "training",
    "version",
    "experiment",
    "message",
)


def _row(item: Retraining) -> dict[str, Any]:
    return {name: getattr(item, name) for name in _FIELDS}


def _to_retraining(row: Mapping[Any, Any]) -> Retraining:
    return Retraining(**{name: row[name] for name in _FIELDS})


def _run_row(item: Run) -> dict[str, Any]:
    values = {name: getattr(item, name) for name in _RUN_FIELDS}
    return values | {"cause": item.cause.value, "state": item.state.value}


def _to_run(row: Mapping[Any, Any]) -> Run:
    values = {name: row[name] for name in _RUN_FIELDS}
    return Run(**values, cause=Cause(row["cause"]), state=RunState(row["state"]))
