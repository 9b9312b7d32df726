"""Learns from the life of attempts which of them may still deliver."""

from dataclasses import dataclass

from mltrainer_registry.application.ports import UnitOfWorkFactory


@dataclass(frozen=True, slots=True)
class ObserveAttempt:
    """From now on, lower fencing tokens of the training are refused."""

    event_id: str
    training: str
    lowest_accepted_token: int


@dataclass(frozen=True, slots=True)
class ObserveAttemptHandler:
    """Raises the fencing mark of a training."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, command: ObserveAttempt) -> bool:
        """Tells whether the event was new."""
        async with self.unit_of_work() as uow:
            if not await uow.inbox.claim(command.event_id):
                return False
            await uow.trainings.refuse_below(command.training, command.lowest_accepted_token)
            await uow.commit()
        return True
