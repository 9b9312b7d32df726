"""Reads and writes inside a write transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from mltrainer_common.database import DatabaseDialect, upsert
from sqlalchemy import ColumnElement, and_, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_experiment.adapters import tables
from mltrainer_experiment.adapters.rows import (
    experiment_row,
    exposure_row,
    outcome_row,
    read_experiment,
    result_json,
)
from mltrainer_experiment.domain.analysis import Result
from mltrainer_experiment.domain.experiment import Experiment, ExperimentState, Exposure, Outcome


@dataclass(frozen=True, slots=True)
class SqlExperimentRepository:
    """Keeps experiments."""

    connection: AsyncConnection

    async def lock(self) -> None:
        """Waits until no other transaction changes experiments."""
        # SQLite's writers take turns anyway. PostgreSQL takes its snapshot at the first statement that reads,
        # and LOCK TABLE reads nothing: whoever gets the lock sees what was committed before.
        if self.connection.dialect.name == DatabaseDialect.POSTGRESQL:
            await self.connection.execute(text("LOCK TABLE experiment IN SHARE ROW EXCLUSIVE MODE"))

    async def get(self, experiment_id: str) -> Experiment | None:
        """Returns an experiment."""
        return await self._first(tables.experiment.c.experiment_id == experiment_id)

    async def of_request(self, request_id: str) -> Experiment | None:
        """Returns the experiment that a request has created."""
        return await self._first(tables.experiment.c.request_id == request_id)

    async def active_of(self, model: str) -> Experiment | None:
        """Returns the active experiment of a model."""
        columns = tables.experiment.c
        return await self._first(and_(columns.model == model, columns.state == ExperimentState.ACTIVE))

    async def add(self, experiment: Experiment) -> None:
        """Adds a new experiment."""
        await self.connection.execute(insert(tables.experiment).values(experiment_row(experiment)))

    async def save(self, experiment: Experiment) -> None:
        """Replaces an experiment by its next revision."""
        table = tables.experiment
        here = table.c.experiment_id == experiment.experiment_id
        await self.connection.execute(update(table).where(here).values(experiment_row(experiment)))

    async def keep_result(self, result: Result) -> None:
        """Keeps the result that an experiment was decided with."""
        row = {"experiment_id": result.experiment_id, "result": result_json(result)}
        await self.connection.execute(insert(tables.decided_result).values(row))

    async def _first(self, condition: ColumnElement[bool]) -> Experiment | None:
        statement = select(tables.experiment).where(condition).limit(1)
        row = (await self.connection.execute(statement)).one_or_none()
        return read_experiment(row) if row else None


@dataclass(frozen=True, slots=True)
class SqlObservationRepository:
    """Keeps exposures and outcomes."""

    connection: AsyncConnection

    async def add_exposures(self, exposures: Sequence[Exposure]) -> None:
        """Keeps the earliest exposure of each unit."""
        if not exposures:
            return
        table = tables.exposure
        row = upsert(self.connection, table)
        earliest = row.on_conflict_do_update(
            index_elements=[table.c.experiment_id, table.c.unit],
            set_={name: row.excluded[name] for name in ("variant", "expose_time", "source")},
            where=row.excluded.expose_time < table.c.expose_time,
        )
        await self.connection.execute(earliest, [exposure_row(exposure) for exposure in exposures])

    async def add_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Keeps outcomes, each id once."""
        if outcomes:
            row = upsert(self.connection, tables.outcome).on_conflict_do_nothing()
            await self.connection.execute(row, [outcome_row(outcome) for outcome in outcomes])
