"""Reads for callers and for the supervision, never waiting for a writer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mltrainer_common.database import Database, UtcDateTime
from sqlalchemy import Tuple, func, literal, select, tuple_

from mltrainer_trainer.adapters import attempt_repository as finders
from mltrainer_trainer.adapters.attempt_repository import SqlAttemptRepository, fetch_attempts
from mltrainer_trainer.adapters.study_repository import (
    SqlStudyRepository,
    select_studies,
    to_study,
    to_trial,
)
from mltrainer_trainer.adapters.tables import attempt, study, trial
from mltrainer_trainer.application.ports import PageRequest
from mltrainer_trainer.domain.attempt import Attempt
from mltrainer_trainer.domain.errors import InvalidFieldError
from mltrainer_trainer.domain.ledger import RecordedStudy, RecordedTrial


@dataclass(frozen=True, slots=True)
class SqlTrainerQueries:
    """Answers from the reader engine.

    Attributes:
        nodes: Node whose attempts this trainer supervises, or how the names of its nodes begin, up to a dot.
    """

    database: Database
    nodes: str = ""

    async def live(self) -> Sequence[Attempt]:
        """Returns the attempts that have not ended, oldest first."""
        async with self.database.snapshot() as connection:
            return await fetch_attempts(connection, finders.live(self.nodes))

    async def unfinished(self) -> Sequence[Attempt]:
        """Returns the attempts that have not ended or whose execution may still be there."""
        async with self.database.snapshot() as connection:
            return await fetch_attempts(connection, finders.unfinished(self.nodes))

    async def ended_before(self, before: datetime, limit: int) -> Sequence[Attempt]:
        """Returns attempts that ended before a moment and were not discarded yet."""
        async with self.database.snapshot() as connection:
            return await fetch_attempts(connection, finders.ended_before(self.nodes, before, limit))

    async def trial_count(self, study_name: str, *, excluding: str) -> int:
        """Returns how many trials a study has that one of its trainings has not recorded."""
        query = select(func.count()).where(trial.c.study == study_name, trial.c.training != excluding)
        async with self.database.snapshot() as connection:
            return (await connection.execute(query)).scalar_one()

    async def attempt(self, name: str) -> Attempt | None:
        """Returns an attempt by name."""
        async with self.database.snapshot() as connection:
            return await SqlAttemptRepository(connection).get(name)

    async def attempts(self, training: str, page: PageRequest) -> Sequence[tuple[str, Attempt]]:
        """Returns attempts with positions: of a training oldest first, of all where empty, newest first."""
        if training:
            query = select(attempt).where(attempt.c.training == training)
            query = query.where(attempt.c.number > _whole(page.after)).order_by(attempt.c.number)
        else:
            query = select(attempt).order_by(attempt.c.accept_time.desc(), attempt.c.name.desc())
            if page.after:
                query = query.where(tuple_(attempt.c.accept_time, attempt.c.name) < _moment(page.after))
        async with self.database.snapshot() as connection:
            found = await fetch_attempts(connection, query.limit(page.size))
        return [(_position(it, of_training=bool(training)), it) for it in found]

    async def study(self, name: str) -> RecordedStudy | None:
        """Returns a study by name."""
        async with self.database.snapshot() as connection:
            return await SqlStudyRepository(connection).get(name)

    async def studies(self, page: PageRequest) -> Sequence[tuple[str, RecordedStudy]]:
        """Returns studies by name with their positions."""
        query = select_studies().where(study.c.name > page.after).order_by(study.c.name).limit(page.size)
        async with self.database.snapshot() as connection:
            rows = (await connection.execute(query)).mappings()
            return [(row["name"], to_study(row)) for row in rows]

    async def trials(self, study_name: str, page: PageRequest) -> Sequence[tuple[str, RecordedTrial]]:
        """Returns the trials of a study, oldest first, with their positions."""
        query = select(trial).where(trial.c.study == study_name, trial.c.position > _whole(page.after))
        async with self.database.snapshot() as connection:
            rows = (await connection.execute(query.order_by(trial.c.position).limit(page.size))).mappings()
            return [(str(row["position"]), to_trial(row)) for row in rows]


def _whole(position: str) -> int:
    if position and not position.isdecimal():
        raise InvalidFieldError("page_token", "use the next_page_token of the page before")
    return int(position or 0)


def _moment(position: str) -> Tuple:
    time, _, name = position.partition("|")
    try:
        return tuple_(literal(datetime.fromisoformat(time), UtcDateTime), name)
    except ValueError as error:
        raise InvalidFieldError("page_token", "use the next_page_token of the page before") from error


def _position(found: Attempt, *, of_training: bool) -> str:
    if of_training:
        return str(found.placement.number)
    return f"{found.accept_time.isoformat()}|{found.name}"
