"""Keeps studies and their trial ledgers in the database."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from mltrainer_common.database import upsert
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_trainer.adapters.tables import study as studies
from mltrainer_trainer.adapters.tables import study_training, trial
from mltrainer_trainer.domain.ledger import RecordedStudy, RecordedTrial, StudyTarget


class SqlStudyRepository:
    """Reads and writes studies inside the caller's transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, name: str) -> RecordedStudy | None:
        """Returns a study by name."""
        row = (await self._connection.execute(select_studies().where(studies.c.name == name))).mappings()
        found = row.one_or_none()
        return to_study(found) if found is not None else None

    async def save(self, study: RecordedStudy) -> None:
        """Stores a new or changed study."""
        values = {
            "name": study.name,
            "target_kind": study.target.kind,
            "horizon_bars": study.target.horizon_bars,
            "training_count": study.training_count,
            "create_time": study.create_time,
        }
        insert = upsert(self._connection, studies).values(values)
        changes = {"training_count": study.training_count}
        await self._connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changes))

    async def add_training(self, study: str, training: str) -> bool:
        """Remembers that a training has recorded trials; False where that was known."""
        insert = upsert(self._connection, study_training).values(study=study, training=training)
        added = await self._connection.execute(
            insert.on_conflict_do_nothing().returning(study_training.c.training)
        )
        return added.first() is not None

    async def add_trials(self, trials: Sequence[RecordedTrial]) -> None:
        """Stores the trials whose configurations the ledger does not hold yet."""
        if not trials:
            return
        insert = upsert(self._connection, trial).values([_trial_row(item) for item in trials])
        await self._connection.execute(
            insert.on_conflict_do_nothing(index_elements=["study", "configuration_digest"])
        )

    async def trial_count(self, study: str) -> int:
        """Returns how many trials a study has."""
        query = select(func.count()).where(trial.c.study == study)
        return (await self._connection.execute(query)).scalar_one()


def select_studies() -> Select[Any]:
    """Finds studies with the count of their trials."""
    counted = select(func.count()).where(trial.c.study == studies.c.name).scalar_subquery()
    return select(studies, counted.label("trial_count"))


def to_study(row: Mapping[Any, Any]) -> RecordedStudy:
    """Reads a study from its row."""
    target = StudyTarget(row["target_kind"], row["horizon_bars"])
    return RecordedStudy(row["name"], target, row["trial_count"], row["training_count"], row["create_time"])


def _trial_row(item: RecordedTrial) -> dict[str, Any]:
    return {
        "study": item.study,
        "configuration_digest": item.configuration_digest,
        "training": item.training,
        "attempt": item.attempt,
        "catalogue_id": item.catalogue_id,
        "parameters_json": item.parameters_json,
        "objective": item.objective,
        "cpu_seconds": item.cpu_seconds,
        "metrics": [base64.b64encode(metric).decode() for metric in item.metrics],
        "create_time": item.create_time,
        "outcome": item.outcome,
        "detail": item.detail,
        "monthly_losses": item.monthly_losses,
    }


def to_trial(row: Mapping[Any, Any]) -> RecordedTrial:
    """Reads a trial from its row."""
    return RecordedTrial(
        study=row["study"],
        training=row["training"],
        attempt=row["attempt"],
        catalogue_id=row["catalogue_id"],
        parameters_json=row["parameters_json"],
        configuration_digest=row["configuration_digest"],
        objective=row["objective"],
        cpu_seconds=row["cpu_seconds"],
        metrics=tuple(base64.b64decode(metric) for metric in row["metrics"]),
        create_time=row["create_time"],
        position=row["position"],
        outcome=row["outcome"],
        detail=row["detail"],
        monthly_losses=tuple((month, loss) for month, loss in row["monthly_losses"]),
    )
