"""Prolongs the leases of a node's attempts, and says which of them no longer hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory
from mltrainer_scheduler.domain.training import SchedulingPolicy


@dataclass(frozen=True, slots=True)
class Claim:
    """An allocation that a node believes it holds."""

    allocation: str
    fencing_token: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """Which claims hold, until when, and which do not."""

    renewed: tuple[str, ...]
    revoked: tuple[str, ...]
    lease_s: float
    lease_expire_time: datetime


@dataclass(frozen=True, slots=True)
class RenewAllocationsHandler:
    """Prolongs what lives under the claimed token on the claiming node; everything else is revoked."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    policy: SchedulingPolicy

    async def __call__(self, node: str, claims: Sequence[Claim]) -> Renewal:
        """Renews the claims of one node."""
        until = self.clock.now() + timedelta(seconds=self.policy.lease_s)
        if not claims:
            return Renewal((), (), self.policy.lease_s, until)
        async with self.unit_of_work() as uow:
            living = await uow.cluster.living({claim.allocation for claim in claims})
            holding = {allocation.name: allocation for allocation in living if allocation.share.node == node}
            renewed = tuple(
                claim.allocation
                for claim in claims
                if claim.allocation in holding
                and holding[claim.allocation].fencing_token == claim.fencing_token
            )
            await uow.cluster.prolong({holding[name].training for name in renewed}, until)
            await uow.commit()
        revoked = tuple(claim.allocation for claim in claims if claim.allocation not in renewed)
        return Renewal(renewed, revoked, self.policy.lease_s, until)
