"""Answers questions from a read-only view."""

from collections.abc import Sequence
from dataclasses import dataclass

from mltrainer_common.database import Database
from sqlalchemy import and_, func, select

from mltrainer_experiment.adapters import tables
from mltrainer_experiment.adapters.rows import read_experiment, read_result
from mltrainer_experiment.domain.analysis import DayTally, Observations, Result
from mltrainer_experiment.domain.experiment import Experiment


@dataclass(frozen=True, slots=True)
class SqlExperimentReader:
    """Reads experiments and counts."""

    database: Database

    async def experiment(self, experiment_id: str) -> Experiment | None:
        """Returns an experiment."""
        statement = select(tables.experiment).where(tables.experiment.c.experiment_id == experiment_id)
        async with self.database.snapshot() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return read_experiment(row) if row else None

    async def experiments(self, after_id: str, limit: int) -> Sequence[Experiment]:
        """Lists experiments by id, after one."""
        table = tables.experiment
        statement = select(table).where(table.c.experiment_id > after_id).order_by(table.c.experiment_id)
        async with self.database.snapshot() as connection:
            return [read_experiment(row) for row in await connection.execute(statement.limit(limit))]

    async def observations(self, experiment_id: str) -> Observations:
        """Counts exposed units and joined outcomes."""
        exposure, outcome = tables.exposure, tables.outcome
        exposed = (
            select(exposure.c.variant, func.count().label("units"))
            .where(exposure.c.experiment_id == experiment_id)
            .group_by(exposure.c.variant)
        )
        joined = and_(exposure.c.experiment_id == outcome.c.experiment_id, exposure.c.unit == outcome.c.unit)
        tallies = (
            select(
                outcome.c.event_day,
                exposure.c.variant,
                func.count().label("outcomes"),
                func.sum(outcome.c.value).label("total"),
                func.sum(outcome.c.value * outcome.c.value).label("total_squares"),
            )
            .select_from(outcome.join(exposure, joined))
            .where(outcome.c.experiment_id == experiment_id)
            .group_by(outcome.c.event_day, exposure.c.variant)
        )
        async with self.database.snapshot() as connection:
            units = {row.variant: row.units for row in await connection.execute(exposed)}
            rows = await connection.execute(tallies)
            return Observations(units, [DayTally(*row) for row in rows])

    async def decided_result(self, experiment_id: str) -> Result | None:
        """Returns the result that an experiment was decided with."""
        table = tables.decided_result
        statement = select(table.c.result).where(table.c.experiment_id == experiment_id)
        async with self.database.snapshot() as connection:
            text = (await connection.execute(statement)).scalar_one_or_none()
        return read_result(text) if text else None
