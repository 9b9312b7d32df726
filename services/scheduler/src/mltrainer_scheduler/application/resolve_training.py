"""Finds out what a training computes, as soon as the tables can tell."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from mltrainer_scheduler.application import computations
from mltrainer_scheduler.application.ports import UnitOfWork
from mltrainer_scheduler.domain import lifecycle
from mltrainer_scheduler.domain.catalogue import Knowledge, Selection, Unknown, Unready, select
from mltrainer_scheduler.domain.keys import BarCalendar, KeyedInputs, keyed_inputs
from mltrainer_scheduler.domain.lifecycle import Change
from mltrainer_scheduler.domain.training import SchedulingPolicy, Training


@dataclass(frozen=True, slots=True)
class Resolved:
    """A training that leads the computation of its key and may be placed."""

    training: Training


@dataclass(frozen=True, slots=True)
class Waits:
    """A training whose key the tables cannot give yet."""

    reason: str


Resolution = Resolved | Change | Waits


@dataclass(frozen=True, slots=True)
class KeyResolver:
    """Gives trainings the key of what they would compute now."""

    calendar: BarCalendar
    policy: SchedulingPolicy

    async def __call__(
        self, uow: UnitOfWork, training: Training, knowledge: Knowledge, now: datetime
    ) -> Resolution:
        """Resolves a valid training; a Change means that it need not be placed, and is not stored yet."""
        old_enough = now >= training.create_time + timedelta(seconds=self.policy.view_grace_s)
        selected = select(training.spec, knowledge, views_are_complete=old_enough)
        match selected:
            case Unready(reason=reason):
                await computations.release(uow, training)
                return Waits(reason)
            case Unknown(violations=violations):
                await computations.release(uow, training)
                return lifecycle.reject(training, violations, now)
            case Selection():
                inputs = keyed_inputs(training.spec, selected, self.calendar)
                return await self._claim(uow, replace(training, knowledge=knowledge.revision), inputs, now)
            case _:
                assert_never(selected)

    async def _claim(
        self, uow: UnitOfWork, training: Training, inputs: KeyedInputs, now: datetime
    ) -> Resolution:
        if training.computation_key != inputs.key:
            await computations.release(uow, training)
        taken = await computations.claim(uow, training, inputs, now, self.policy.audits)
        return taken if isinstance(taken, Change) else Resolved(taken)
