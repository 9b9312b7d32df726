"""Keeps the finished steps of trainings in the database."""

from collections.abc import Sequence
from datetime import datetime

from mltrainer_common.database import upsert
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_trainer.adapters.tables import finished_step as steps
from mltrainer_trainer.application.ports import PageRequest
from mltrainer_trainer.domain.checkpoints import FinishedStep, StepScope

# A statement of SQLite takes a bounded number of values.
_ROWS_PER_STATEMENT = 500


class SqlStepRepository:
    """Reads and writes finished steps inside the caller's transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, scope: StepScope, finished: Sequence[FinishedStep], now: datetime) -> None:
        """Stores steps that are not known yet."""
        for start in range(0, len(finished), _ROWS_PER_STATEMENT):
            rows = [
                {
                    "training": scope.training,
                    "computation_key": scope.computation_key,
                    "key": step.key,
                    "content": step.content,
                    "content_sha256": step.content_sha256,
                    "cpu_seconds": step.cpu_seconds,
                    "create_time": now,
                }
                for step in finished[start : start + _ROWS_PER_STATEMENT]
            ]
            insert = upsert(self._connection, steps).values(rows)
            await self._connection.execute(insert.on_conflict_do_nothing())

    async def page(self, scope: StepScope, page: PageRequest) -> Sequence[tuple[str, FinishedStep]]:
        """Returns steps by key with their positions."""
        query = select(steps).where(
            steps.c.training == scope.training,
            steps.c.computation_key == scope.computation_key,
            steps.c.key > page.after,
        )
        rows = (await self._connection.execute(query.order_by(steps.c.key).limit(page.size))).mappings()
        return [
            (
                row["key"],
                FinishedStep(row["key"], row["content"], row["content_sha256"], row["cpu_seconds"]),
            )
            for row in rows
        ]

    async def forget(self, training: str) -> None:
        """Removes the steps of a training that is over."""
        await self._connection.execute(delete(steps).where(steps.c.training == training))

    async def forget_before(self, time: datetime) -> None:
        """Removes steps that nobody has come back for."""
        await self._connection.execute(delete(steps).where(steps.c.create_time < time))
