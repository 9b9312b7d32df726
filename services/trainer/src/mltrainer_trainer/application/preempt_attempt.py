"""Ends attempts whose allocations were taken back."""

from dataclasses import dataclass

from mltrainer_trainer.application.change_attempt import save_change
from mltrainer_trainer.application.ports import Clock, UnitOfWorkFactory
from mltrainer_trainer.domain.attempt import preempt


@dataclass(frozen=True, slots=True)
class PreemptAttempt:
    """An allocation no longer holds."""

    event_id: str
    allocation: str
    reason: str


@dataclass(frozen=True, slots=True)
class PreemptAttemptHandler:
    """Records the end; the supervision of the node then ends the process."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: PreemptAttempt) -> None:
        """Takes effect once per event; an allocation that is not known yet is remembered."""
        async with self.unit_of_work() as uow:
            if not await uow.inbox.claim(command.event_id):
                return
            now = self.clock.now()
            await uow.attempts.revoke(command.allocation, command.reason, now)
            attempt = await uow.attempts.of_allocation(command.allocation)
            if attempt is not None:
                await save_change(uow, preempt(attempt, command.reason, now))
            await uow.commit()
