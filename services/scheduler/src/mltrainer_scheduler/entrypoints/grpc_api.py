"""Answers calls: decodes, calls one use case, encodes."""

from dataclasses import dataclass
from typing import Any

import structlog
from mltrainer.scheduler.v1 import resources_pb2, scheduler_service_pb2
from mltrainer.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceServicer
from mltrainer_common.database import retry_conflicts

from mltrainer_scheduler.application.browse import BrowseHandler
from mltrainer_scheduler.application.cancel_training import CancelTrainingHandler
from mltrainer_scheduler.application.explain_miss import ExplainMissHandler
from mltrainer_scheduler.application.explain_training import ExplainTrainingHandler
from mltrainer_scheduler.application.manage_queues import QueuesHandler
from mltrainer_scheduler.application.preview_training import PreviewTrainingHandler
from mltrainer_scheduler.application.renew_allocations import Claim, RenewAllocationsHandler
from mltrainer_scheduler.domain.errors import InvalidFieldError
from mltrainer_scheduler.entrypoints.loops import Wake
from mltrainer_scheduler.wire.misses import from_miss
from mltrainer_scheduler.wire.pages import last_name, next_token, page_size
from mltrainer_scheduler.wire.queues import from_queue, to_queues, to_revision
from mltrainer_scheduler.wire.resources import (
    from_allocation,
    from_explanation,
    from_node,
    from_preview,
    from_training,
    to_states,
)
from mltrainer_scheduler.wire.specification import to_spec
from mltrainer_scheduler.wire.times import to_timestamp

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the calls of this service do."""

    browse: BrowseHandler
    cancel: CancelTrainingHandler
    explain: ExplainTrainingHandler
    renew: RenewAllocationsHandler
    preview: PreviewTrainingHandler
    queues: QueuesHandler
    explain_miss: ExplainMissHandler


class SchedulerApi(SchedulerServiceServicer):
    """Implements `SchedulerService`."""

    def __init__(self, use_cases: UseCases, wake: Wake) -> None:
        self._use_cases = use_cases
        self._wake = wake

    async def GetTraining(
        self, request: scheduler_service_pb2.GetTrainingRequest, context: Any
    ) -> resources_pb2.Training:
        """Returns a training by name."""
        return from_training(await self._use_cases.browse.training(request.name))

    async def LookupTraining(
        self, request: scheduler_service_pb2.LookupTrainingRequest, context: Any
    ) -> resources_pb2.Training:
        """Returns the training of a producer's request."""
        return from_training(await self._use_cases.browse.training_of_request(request.request_id))

    async def ListTrainings(
        self, request: scheduler_service_pb2.ListTrainingsRequest, context: Any
    ) -> scheduler_service_pb2.ListTrainingsResponse:
        """Lists trainings, newest first."""
        size = page_size(request)
        found = await self._use_cases.browse.trainings(
            size + 1, last_name(request), request.study, to_states(request.states)
        )
        page = found[:size]
        return scheduler_service_pb2.ListTrainingsResponse(
            trainings=[from_training(training) for training in page],
            next_page_token=next_token(found, size, page[-1].name if page else ""),
        )

    async def CancelTraining(
        self, request: scheduler_service_pb2.CancelTrainingRequest, context: Any
    ) -> resources_pb2.Training:
        """Stops a training."""
        training = await retry_conflicts(lambda: self._use_cases.cancel(request.name))
        self._wake.notify()
        _log.info("training_cancelled", training=training.name, state=training.state)
        return from_training(training)

    async def ExplainTraining(
        self, request: scheduler_service_pb2.ExplainTrainingRequest, context: Any
    ) -> scheduler_service_pb2.TrainingExplanation:
        """Says why a training waits or where it executes."""
        return from_explanation(await self._use_cases.explain(request.name))

    async def ExplainMiss(
        self, request: scheduler_service_pb2.ExplainMissRequest, context: Any
    ) -> scheduler_service_pb2.MissExplanation:
        """Says why the result of an earlier training was not taken."""
        return from_miss(await self._use_cases.explain_miss(request.name, request.against))

    async def RenewAllocations(
        self, request: scheduler_service_pb2.RenewAllocationsRequest, context: Any
    ) -> scheduler_service_pb2.RenewAllocationsResponse:
        """Prolongs the leases of a node's allocations."""
        if not request.node:
            raise InvalidFieldError("node", "is required: `nodes/{node}`")
        claims = [Claim(claim.allocation, claim.fencing_token) for claim in request.claims]
        renewal = await retry_conflicts(lambda: self._use_cases.renew(request.node, claims))
        return scheduler_service_pb2.RenewAllocationsResponse(
            renewed_allocations=renewal.renewed,
            revoked_allocations=renewal.revoked,
            lease_s=renewal.lease_s,
            lease_expire_time=to_timestamp(renewal.lease_expire_time),
        )

    async def ListAllocations(
        self, request: scheduler_service_pb2.ListAllocationsRequest, context: Any
    ) -> scheduler_service_pb2.ListAllocationsResponse:
        """Lists allocations that live, oldest first."""
        size = page_size(request)
        found = await self._use_cases.browse.allocations(size + 1, last_name(request))
        page = found[:size]
        return scheduler_service_pb2.ListAllocationsResponse(
            allocations=[from_allocation(held.allocation, held.training) for held in page],
            next_page_token=next_token(found, size, page[-1].allocation.name if page else ""),
        )

    async def ListNodes(
        self, request: scheduler_service_pb2.ListNodesRequest, context: Any
    ) -> scheduler_service_pb2.ListNodesResponse:
        """Lists nodes by name."""
        size = page_size(request)
        found = await self._use_cases.browse.nodes(size + 1, last_name(request))
        page = found[:size]
        return scheduler_service_pb2.ListNodesResponse(
            nodes=[from_node(use) for use in page],
            next_page_token=next_token(found, size, page[-1].report.name if page else ""),
        )

    async def PreviewTraining(
        self, request: scheduler_service_pb2.PreviewTrainingRequest, context: Any
    ) -> scheduler_service_pb2.TrainingPreview:
        """Says what would become of a request."""
        return from_preview(await self._use_cases.preview(to_spec(request.spec)))

    async def ListQueues(
        self, request: scheduler_service_pb2.ListQueuesRequest, context: Any
    ) -> scheduler_service_pb2.ListQueuesResponse:
        """Lists queues by name."""
        size = page_size(request)
        found, revision = await self._use_cases.queues.list(size + 1, last_name(request))
        page = found[:size]
        return scheduler_service_pb2.ListQueuesResponse(
            queues=[from_queue(use) for use in page],
            next_page_token=next_token(found, size, page[-1].queue.name if page else ""),
            etag=str(revision),
        )

    async def SetQueues(
        self, request: scheduler_service_pb2.SetQueuesRequest, context: Any
    ) -> scheduler_service_pb2.ListQueuesResponse:
        """Replaces the tree of queues."""
        queues, revision = to_queues(request.queues), to_revision(request.etag)
        await retry_conflicts(lambda: self._use_cases.queues.set(queues, revision))
        self._wake.notify()
        _log.info("queues_set", queues=len(queues))
        return await self.ListQueues(scheduler_service_pb2.ListQueuesRequest(page_size=1_000), context)
