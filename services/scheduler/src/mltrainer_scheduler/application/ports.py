"""What use cases need from the outside."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mltrainer_scheduler.domain.catalogue import Knowledge, TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.events import SchedulerEvent
from mltrainer_scheduler.domain.placement import Capacity, NodeReport, QueueEntry
from mltrainer_scheduler.domain.training import (
    Allocation,
    Computation,
    ComputationId,
    Training,
    TrainingState,
)

NewId = Callable[[], str]
"""Makes ids that sort by time."""


class Clock(Protocol):
    """Tells an aware UTC time."""

    def now(self) -> datetime:
        """Returns the current time."""
        ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """A training that waits for capacity, without its specification; `reason` is the one last told."""

    entry: QueueEntry
    reason: str


@dataclass(frozen=True, slots=True)
class HeldAllocation:
    """An allocation together with what its training asked for."""

    allocation: Allocation
    training: Training


class TrainingRepository(Protocol):
    """Keeps trainings by name."""

    async def get(self, name: str) -> Training | None:
        """Returns a training."""
        ...

    async def of_request(self, request_id: str) -> Training | None:
        """Returns the training of a producer's request."""
        ...

    async def known_requests(self, request_ids: Collection[str]) -> set[str]:
        """Returns which request ids have a training."""
        ...

    async def add(self, training: Training) -> None:
        """Stores a new training.

        Raises:
            An error that time heals: its request id was stored concurrently.
        """
        ...

    async def save(self, training: Training, previous_revision: int) -> None:
        """Replaces a training.

        Raises:
            An error that time heals: it is not at the previous revision any more.
        """
        ...

    async def is_any_waiting(self, ready_before: datetime) -> bool:
        """Tells whether a queued training wants to be looked at."""
        ...

    async def unsettled(self, ready_before: datetime, limit: int) -> list[Training]:
        """Returns queued trainings without a key or past their deadline, oldest first."""
        ...

    async def waiting(self, ready_before: datetime, limit: int) -> list[Waiting]:
        """Returns the other queued trainings, which may be placed, the first of every queue first."""
        ...

    async def joined_to(self, computation: ComputationId) -> list[Training]:
        """Returns the trainings that wait for a result, oldest first."""
        ...

    async def page(
        self, limit: int, before: str, study: str, states: Collection[TrainingState]
    ) -> list[Training]:
        """Returns trainings older than a name, newest first; an empty argument does not restrict."""
        ...


class ComputationRepository(Protocol):
    """Keeps who computes what, and results."""

    async def get(self, computation: ComputationId) -> Computation | None:
        """Returns a computation."""
        ...

    async def add(self, computation: Computation) -> None:
        """Stores a new computation.

        Raises:
            An error that time heals: somebody else began it concurrently.
        """
        ...

    async def save(self, computation: Computation, previous_revision: int) -> None:
        """Replaces a computation.

        Raises:
            An error that time heals: it is not at the previous revision any more.
        """
        ...

    async def remove(self, computation: Computation) -> None:
        """Forgets a computation that nobody does any more."""
        ...


class ClusterRepository(Protocol):
    """Keeps nodes and allocations as one aggregate."""

    async def nodes(self, limit: int = 0, after: str = "") -> list[NodeReport]:
        """Returns nodes by name; all without a limit."""
        ...

    async def report(self, node: NodeReport) -> bool:
        """Stores what a node says and tells whether that was news."""
        ...

    async def held(self, limit: int = 0, after: str = "") -> list[HeldAllocation]:
        """Returns the allocations that live, oldest first; all without a limit."""
        ...

    async def held_by(self, training: str) -> list[Allocation]:
        """Returns the allocations of a training that live, oldest first."""
        ...

    async def living(self, names: Collection[str]) -> list[Allocation]:
        """Returns which of these allocations live."""
        ...

    async def used(self) -> dict[str, Capacity]:
        """Returns what living allocations hold, by node."""
        ...

    async def revision(self) -> int:
        """Returns the revision that every allocation counts up."""
        ...

    async def allocate(self, allocations: Sequence[Allocation], revision: int) -> int:
        """Stores new allocations and returns the next revision.

        Raises:
            An error that time heals: somebody else has allocated since the revision was read.
        """
        ...

    async def update(self, allocations: Sequence[Allocation]) -> None:
        """Replaces allocations."""
        ...

    async def due(self, now: datetime, limit: int) -> list[Allocation]:
        """Returns living allocations whose lease has lapsed."""
        ...

    async def prolong(self, trainings: Collection[str], until: datetime) -> None:
        """Has the living leases of trainings hold until then."""
        ...

    async def prolong_all(self, until: datetime) -> int:
        """Has every living lease hold at least until then, and returns how many there are."""
        ...


class KnowledgeRepository(Protocol):
    """Keeps the tables replicated from trainers and from feature."""

    async def load(self) -> Knowledge:
        """Returns the newest release and all views."""
        ...

    async def store_release(self, release: TrainerRelease, received_time: datetime) -> bool:
        """Stores a release and tells whether it was news."""
        ...

    async def store_view(self, view: ViewVersion) -> bool:
        """Stores a view version and tells whether it was news."""
        ...


class Inbox(Protocol):
    """Remembers which events have taken effect."""

    async def claim(self, event_id: str, consumer: str = ...) -> bool:
        """Tells whether an event is new to a consumer, and remembers it."""
        ...


class Outbox(Protocol):
    """Publishes events once the transaction has been committed."""

    def add(self, event: SchedulerEvent) -> None:
        """Adds an event, under the trace of its training."""
        ...


class UnitOfWork(Protocol):
    """One transaction; what is not committed is undone."""

    @property
    def trainings(self) -> TrainingRepository:
        """Trainings."""
        ...

    @property
    def computations(self) -> ComputationRepository:
        """Computations."""
        ...

    @property
    def cluster(self) -> ClusterRepository:
        """Nodes and allocations."""
        ...

    @property
    def knowledge(self) -> KnowledgeRepository:
        """Replicated tables."""
        ...

    @property
    def inbox(self) -> Inbox:
        """Events that took effect."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Events to publish."""
        ...

    async def commit(self) -> None:
        """Makes everything durable at once."""
        ...


class View(Protocol):
    """A read-only look at one moment."""

    @property
    def trainings(self) -> TrainingRepository:
        """Trainings."""
        ...

    @property
    def cluster(self) -> ClusterRepository:
        """Nodes and allocations."""
        ...

    @property
    def knowledge(self) -> KnowledgeRepository:
        """Replicated tables."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens transactions and views."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a transaction."""
        ...

    def view(self) -> AbstractAsyncContextManager[View]:
        """Opens a view; it waits for no writer."""
        ...
