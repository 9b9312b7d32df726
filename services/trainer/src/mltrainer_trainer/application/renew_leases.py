"""Keeps the allocations of the attempts alive."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mltrainer_trainer.application.change_attempt import save_change
from mltrainer_trainer.application.lease_book import LeaseBook
from mltrainer_trainer.application.ports import (
    AllocationLeases,
    AttemptQueries,
    Clock,
    Renewal,
    UnitOfWorkFactory,
)
from mltrainer_trainer.domain.attempt import Attempt, AttemptState, preempt


@dataclass(frozen=True, slots=True)
class RenewLeasesHandler:
    """Renews all leases with one call for each node and ends attempts whose allocations no longer hold.

    The book tells the attempts, which ask with every report, how long they may go on.
    """

    unit_of_work: UnitOfWorkFactory
    queries: AttemptQueries
    leases: AllocationLeases
    book: LeaseBook
    clock: Clock

    async def __call__(self) -> list[Renewal]:
        """Returns the scheduler's answers, one for each node with living attempts.

        Raises:
            SchedulerUnavailableError: The leases go on lapsing.
        """
        attempts = await self.queries.live()
        self.book.keep_only({it.placement.allocation for it in attempts})
        by_node = defaultdict[str, list[Attempt]](list)
        for attempt in attempts:
            by_node[attempt.placement.node].append(attempt)
        return [await self._renew(node, held) for node, held in by_node.items()]

    async def _renew(self, node: str, attempts: Sequence[Attempt]) -> Renewal:
        # The lease counts from before the question: an answer that was long under way must not prolong it.
        asked_time = self.clock.now()
        claims = [(it.placement.allocation, it.placement.fencing_token) for it in attempts]
        renewal = await self.leases.renew(node, claims)
        lease = asked_time + timedelta(seconds=renewal.lease_s) - self.clock.now()
        await self._prolong(attempts, renewal, lease)
        await self._preempt(renewal)
        return renewal

    async def _prolong(self, attempts: Sequence[Attempt], renewal: Renewal, lease: timedelta) -> None:
        self.book.prolong(renewal.renewed, lease.total_seconds())
        pending = [
            it.placement.allocation
            for it in attempts
            if it.state is AttemptState.PENDING and it.placement.allocation in renewal.renewed
        ]
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
