"""Asks the scheduler to prolong leases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrainer.scheduler.v1.scheduler_service_pb2 import AllocationClaim, RenewAllocationsRequest
from mltrainer_common.errors import RpcFailure

from mltrainer_trainer.application.ports import Renewal, SchedulerUnavailableError

if TYPE_CHECKING:  # exists in the type stubs only
    from mltrainer.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceAsyncStub


@dataclass(frozen=True, slots=True)
class RpcAllocationLeases:
    """Calls `RenewAllocations`."""

    scheduler: "SchedulerServiceAsyncStub"
    timeout_s: float = 5.0

    async def renew(self, node: str, claims: Sequence[tuple[str, int]]) -> Renewal:
        """Prolongs the leases of allocations, each given with its fencing token."""
        request = RenewAllocationsRequest(
            node=node,
            claims=[AllocationClaim(allocation=name, fencing_token=token) for name, token in claims],
        )
        try:
            answer = await self.scheduler.RenewAllocations(request, timeout=self.timeout_s)
        except RpcFailure as failure:
            raise SchedulerUnavailableError(str(failure)) from failure
        return Renewal(
            frozenset(answer.renewed_allocations), frozenset(answer.revoked_allocations), answer.lease_s
        )
