"""Stops a training on request."""

from dataclasses import dataclass

from mltrainer_scheduler.application import accounting, computations
from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory
from mltrainer_scheduler.domain import lifecycle
from mltrainer_scheduler.domain.errors import TrainingNotFoundError
from mltrainer_scheduler.domain.training import SchedulingPolicy, Training


@dataclass(frozen=True, slots=True)
class CancelTrainingHandler:
    """Stops a training wherever it is; a final one stays as it is."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    policy: SchedulingPolicy

    async def __call__(self, name: str) -> Training:
        """Returns the training as it is afterwards.

        Raises:
            TrainingNotFoundError: It does not exist.
        """
        async with self.unit_of_work() as uow:
            training = await uow.trainings.get(name)
            if training is None:
                raise TrainingNotFoundError(name)
            if training.state.is_final:
                return training
            held = await uow.cluster.held_by(name)
            change = lifecycle.cancel(training, held, self.clock.now())
            await computations.store(uow, training, change)
            await accounting.charge(uow, [change], self.policy.half_life_s)
            await computations.release(uow, training)
            await uow.commit()
        return change.training
