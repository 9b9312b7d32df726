"""Answers what trainings, allocations and nodes there are."""

from collections.abc import Collection
from dataclasses import dataclass

from mltrainer_scheduler.application.ports import HeldAllocation, UnitOfWorkFactory
from mltrainer_scheduler.domain.cluster import Capacity, NodeReport
from mltrainer_scheduler.domain.errors import RequestNotFoundError, TrainingNotFoundError
from mltrainer_scheduler.domain.training import Training, TrainingState


@dataclass(frozen=True, slots=True)
class NodeUse:
    """A node and what is allocated on it."""

    report: NodeReport
    used: Capacity
    allocation_count: int = 0


@dataclass(frozen=True, slots=True)
class BrowseHandler:
    """Reads without waiting for writers."""

    unit_of_work: UnitOfWorkFactory

    async def training(self, name: str) -> Training:
        """Returns a training.

        Raises:
            TrainingNotFoundError: It does not exist.
        """
        async with self.unit_of_work.view() as view:
            training = await view.trainings.get(name)
        if training is None:
            raise TrainingNotFoundError(name)
        return training

    async def training_of_request(self, request_id: str) -> Training:
        """Returns the training of a producer's request.

        Raises:
            RequestNotFoundError: None is known, or not yet.
        """
        async with self.unit_of_work.view() as view:
            training = await view.trainings.of_request(request_id)
        if training is None:
            raise RequestNotFoundError(request_id)
        return training

    async def trainings(
        self, limit: int, before: str, study: str, states: Collection[TrainingState]
    ) -> list[Training]:
        """Returns trainings older than a name, newest first."""
        async with self.unit_of_work.view() as view:
            return await view.trainings.page(limit, before, study, states)

    async def allocations(self, limit: int, after: str) -> list[HeldAllocation]:
        """Returns living allocations younger than a name, oldest first."""
        async with self.unit_of_work.view() as view:
            return await view.cluster.held(limit, after)

    async def nodes(self, limit: int, after: str) -> list[NodeUse]:
        """Returns nodes after a name, by name."""
        async with self.unit_of_work.view() as view:
            used = await view.cluster.used()
            nothing = (Capacity(), 0)
            return [
                NodeUse(report, *used.get(report.name, nothing))
                for report in await view.cluster.nodes(limit, after)
            ]
