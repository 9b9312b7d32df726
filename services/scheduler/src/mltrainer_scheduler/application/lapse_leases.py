"""Takes allocations back whose leases were not renewed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mltrainer_scheduler.application import accounting, computations
from mltrainer_scheduler.application.conclude_attempt import is_current
from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory
from mltrainer_scheduler.domain import lifecycle
from mltrainer_scheduler.domain.training import SchedulingPolicy, Training

_BATCH = 100


@dataclass(frozen=True, slots=True)
class LapseLeasesHandler:
    """Requeues the trainings of attempts that fell silent."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    policy: SchedulingPolicy

    async def __call__(self) -> list[Training]:
        """Returns the trainings that lost their allocation."""
        lapsed: list[Training] = []
        while True:
            now = self.clock.now()
            async with self.unit_of_work.view() as view:
                if not await view.cluster.due(now, 1):
                    return lapsed
            batch = await self._lapse(now)
            if not batch:
                return lapsed
            lapsed += batch

    async def _lapse(self, now: datetime) -> list[Training]:
        lapsed = []
        async with self.unit_of_work() as uow:
            due = await uow.cluster.due(now, _BATCH)
            tokens = {allocation.training: allocation.fencing_token for allocation in due}
            for name, token in tokens.items():
                training = await uow.trainings.get(name)
                if training is None or not is_current(training, token):
                    continue
                held = await uow.cluster.held_by(name)
                change = lifecycle.lapse(training, held, self.policy, now)
                await computations.store(uow, training, change)
                await accounting.charge(uow, [change], self.policy.half_life_s)
                if change.training.state.is_final:
                    await computations.release(uow, training)
                lapsed.append(change.training)
            await uow.commit()
        return lapsed

    async def extend_all(self) -> int:
        """Gives every living lease its full length again, after a time in which nobody could renew."""
        until = self.clock.now() + timedelta(seconds=self.policy.lease_s)
        async with self.unit_of_work() as uow:
            count = await uow.cluster.prolong_all(until)
            await uow.commit()
        return count
