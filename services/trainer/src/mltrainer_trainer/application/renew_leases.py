"""Keeps the allocations of a node alive."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mltrainer_trainer.application.change_attempt import save_change
from mltrainer_trainer.application.ports import (
    AllocationLeases,
    AttemptQueries,
    Clock,
    ExecutionBackend,
    Renewal,
    UnitOfWorkFactory,
)
from mltrainer_trainer.domain.attempt import Attempt, AttemptState, preempt


@dataclass(frozen=True, slots=True)
class RenewLeasesHandler:
    """Renews all leases of the node with one call and ends attempts whose allocations no longer hold."""

    unit_of_work: UnitOfWorkFactory
    queries: AttemptQueries
    leases: AllocationLeases
    backend: ExecutionBackend
    clock: Clock
    node: str

    async def __call__(self) -> Renewal | None:
        """Returns the scheduler's answer; None where there was nothing to ask.

        Raises:
            SchedulerUnavailableError: The leases go on lapsing.
        """
        attempts = await self.queries.live_on(self.node)
        if not attempts:
            return None
        # The lease counts from before the question: an answer that was long under way must not prolong it.
        asked_time = self.clock.now()
        claims = [(it.placement.allocation, it.placement.fencing_token) for it in attempts]
        renewal = await self.leases.renew(self.node, claims)
        lease = asked_time + timedelta(seconds=renewal.lease_s) - self.clock.now()
        await self._prolong(attempts, renewal, lease)
        await self._preempt(renewal)
        return renewal

    async def _prolong(self, attempts: Sequence[Attempt], renewal: Renewal, lease: timedelta) -> None:
        renewed = [it for it in attempts if it.placement.allocation in renewal.renewed]
        for attempt in renewed:
            if attempt.state is AttemptState.EXECUTING:
                await self.backend.renew_lease(attempt, lease.total_seconds())
        pending = [it.placement.allocation for it in renewed if it.state is AttemptState.PENDING]
        if pending:
            async with self.unit_of_work() as uow:
                await uow.attempts.prolong(pending, self.clock.now() + lease)
                await uow.commit()

    async def _preempt(self, renewal: Renewal) -> None:
        for allocation in renewal.revoked:
            async with self.unit_of_work() as uow:
                attempt = await uow.attempts.of_allocation(allocation)
                if attempt is not None and not attempt.state.is_final:
                    await save_change(uow, preempt(attempt, "ALLOCATION_REVOKED", self.clock.now()))
                    await uow.commit()
