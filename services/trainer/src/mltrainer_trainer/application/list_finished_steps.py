"""Hands an attempt what earlier attempts of its training have finished."""

from collections.abc import Sequence
from dataclasses import dataclass

from mltrainer_trainer.application.change_attempt import load_speaker
from mltrainer_trainer.application.ports import PageRequest, UnitOfWorkFactory
from mltrainer_trainer.domain.attempt import AttemptIdentity
from mltrainer_trainer.domain.checkpoints import FinishedStep, StepScope


@dataclass(frozen=True, slots=True)
class ListFinishedSteps:
    """An attempt begins."""

    identity: AttemptIdentity
    page: PageRequest


@dataclass(frozen=True, slots=True)
class ListFinishedStepsHandler:
    """Reads steps of the same computation only: what other code or data arrived at is of no use."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, command: ListFinishedSteps) -> Sequence[tuple[str, FinishedStep]]:
        """Returns a page of steps with their positions."""
        async with self.unit_of_work() as uow:
            placement = (await load_speaker(uow, command.identity)).placement
            scope = StepScope(placement.training, placement.computation_key)
            return await uow.steps.page(scope, command.page)
