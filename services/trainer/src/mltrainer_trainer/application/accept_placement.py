"""Accepts what the scheduler has placed."""

from dataclasses import dataclass

from mltrainer_trainer.application.change_attempt import save_change
from mltrainer_trainer.application.ports import Clock, UnitOfWorkFactory
from mltrainer_trainer.domain.attempt import Placement, accept, preempt


@dataclass(frozen=True, slots=True)
class AcceptPlacement:
    """A placement as an event tells of it."""

    event_id: str
    placement: Placement


@dataclass(frozen=True, slots=True)
class AcceptPlacementHandler:
    """Stores a placement as a pending attempt; earlier ones of the training have lost their allocations."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: AcceptPlacement) -> bool:
        """Tells whether there is an attempt to start."""
        placement = command.placement
        async with self.unit_of_work() as uow:
            if not await uow.inbox.claim(command.event_id):
                return False
            now = self.clock.now()
            attempt = accept(
                placement,
                await uow.attempts.highest_token(placement.training),
                is_revoked=await uow.attempts.is_revoked(placement.allocation),
                now=now,
            )
            if attempt is not None:
                for earlier in await uow.attempts.live_of(placement.training):
                    await save_change(uow, preempt(earlier, "SUPERSEDED", now))
                await uow.attempts.add(attempt)
            await uow.commit()
        return attempt is not None
