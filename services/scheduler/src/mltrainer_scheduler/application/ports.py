"""What use cases need from the outside."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mltrainer_scheduling.fair_share import PastUse
from mltrainer_scheduling.quotas import Queue

from mltrainer_scheduler.domain.catalogue import Knowledge, TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.cluster import Capacity, NodeReport
from mltrainer_scheduler.domain.events import SchedulerEvent
from mltrainer_scheduler.domain.facts import Delta, Duration
from mltrainer_scheduler.domain.keys import KeyedInputs
from mltrainer_scheduler.domain.spot_history import Pool, SpotRun
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
class HeldAllocation:
    """An allocation together with what its training asked for."""

    allocation: Allocation
    training: Training


@dataclass(frozen=True, slots=True)
class Lock:
    """The number of the transaction that holds the lock, and the nodes that are silent now."""

    number: int
    silent: frozenset[str]


class TrainingRepository(Protocol):
    """Keeps trainings by name."""

    async def get(self, name: str) -> Training | None:
        """Returns a training."""
        ...

    async def get_all(self, names: Collection[str]) -> dict[str, Training]:
        """Returns the trainings that exist, by name."""
        ...

    async def of_request(self, request_id: str) -> Training | None:
        """Returns the training of a producer's request."""
        ...

    async def known_requests(self, request_ids: Collection[str]) -> set[str]:
        """Returns which request ids have a training."""
        ...

    async def add_all(self, trainings: Sequence[Training]) -> None:
        """Stores new trainings.

        Raises:
            An error that time heals: a request id was stored concurrently.
        """
        ...

    async def save(self, training: Training, previous_revision: int) -> None:
        """Replaces a training.

        Raises:
            An error that time heals: it is not at the previous revision any more.
        """
        ...

    async def save_all(self, trainings: Sequence[Training]) -> None:
        """Replaces trainings that were read under the lock of the cluster."""
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
        """Forgets a computation that nobody does any more, or whose result is not to be trusted."""
        ...

    async def remember(self, inputs: KeyedInputs) -> None:
        """Keeps what a key was computed from."""
        ...

    async def inputs(self, keys: Collection[str]) -> dict[str, bytes]:
        """Returns what keys were computed from, as far as it is known."""
        ...

    async def finished(self, study: str, before: str, limit: int) -> list[Computation]:
        """Returns computations with a result and an older leader; a study's first, then newest."""
        ...


class ClusterRepository(Protocol):
    """Keeps nodes and allocations as one aggregate."""

    async def nodes(self, limit: int = 0, after: str = "") -> list[NodeReport]:
        """Returns nodes by name; all without a limit."""
        ...

    async def report(self, node: NodeReport) -> bool:
        """Stores what a node says and tells whether that was news, not only a sign of life."""
        ...

    async def held(self, limit: int = 0, after: str = "") -> list[HeldAllocation]:
        """Returns the allocations that live, oldest first; all without a limit."""
        ...

    async def held_by(self, training: str) -> list[Allocation]:
        """Returns the allocations of a training that live, oldest first."""
        ...

    async def held_by_all(self, names: Collection[str]) -> dict[str, list[Allocation]]:
        """Returns the living allocations of trainings, oldest first."""
        ...

    async def living(self, names: Collection[str]) -> list[Allocation]:
        """Returns which of these allocations live."""
        ...

    async def used(self) -> dict[str, tuple[Capacity, int]]:
        """Returns what living allocations hold and how many there are, by node."""
        ...

    async def allocate(self, allocations: Sequence[Allocation]) -> None:
        """Stores new allocations, under the lock of the cluster."""
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
        """Has every living lease hold until then, neither longer nor shorter; returns how many changed."""
        ...


class PlanningRepository(Protocol):
    """Serves planning: what has changed, queues, past use, durations, and who leads."""

    async def lock(self) -> int:
        """Waits until no other transaction changes anything, and returns the number of this one."""
        ...

    async def revision(self) -> int:
        """Returns the number of the last change."""
        ...

    async def changes(self, since: int, duration_count: int) -> list[Delta]:
        """Returns what has changed since a revision, in order; everything that is not over since -1."""
        ...

    async def checkpoints_s(self, heard_since: datetime) -> dict[str, float]:
        """Returns until when the work of present attempts is safe, of those heard of since, by training."""
        ...

    async def silent(self, heard_since: datetime) -> frozenset[str]:
        """Names the nodes that have not reported since a moment."""
        ...

    async def lock_for_leader(self, holder: str, heard_since: datetime) -> Lock | None:
        """Locks like `lock`, and looks for silent nodes; None unless a process still leads."""
        ...

    async def queues(self) -> tuple[Queue, ...]:
        """Returns the queues that were set, by name."""
        ...

    async def queues_revision(self) -> int:
        """Returns the number of the change that set the queues."""
        ...

    async def set_queues(self, queues: Sequence[Queue]) -> None:
        """Replaces the tree of queues."""
        ...

    async def past(self, queues: Collection[str]) -> dict[str, PastUse]:
        """Returns what queues held in ended allocations."""
        ...

    async def set_past(self, past: Mapping[str, PastUse]) -> None:
        """Replaces what queues held."""
        ...

    async def add_duration(self, taken: Duration) -> None:
        """Remembers how long a training took."""
        ...

    async def last_spot_runs(self) -> list[SpotRun]:
        """Returns the last run of each spot pool."""
        ...

    async def spot_runs(self, pools: Collection[Pool]) -> list[SpotRun]:
        """Returns what was seen of spot pools, oldest first."""
        ...

    async def keep_spot_runs(self, runs: Sequence[SpotRun], since: datetime) -> None:
        """Adds runs or makes them longer; forgets those that ended before, and of too many the oldest."""
        ...

    async def lead(self, holder: str, now: datetime, length_s: float) -> bool:
        """Makes a process the leader for a time, or keeps it so, unless another is."""
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

    async def claim_all(self, event_ids: Sequence[str], consumer: str = ...) -> set[str]:
        """Returns which events are new to a consumer, and remembers all of them."""
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
    def planning(self) -> PlanningRepository:
        """What planning follows."""
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
    def computations(self) -> ComputationRepository:
        """Computations."""
        ...

    @property
    def knowledge(self) -> KnowledgeRepository:
        """Replicated tables."""
        ...

    @property
    def planning(self) -> PlanningRepository:
        """What planning follows."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens transactions and views."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a transaction."""
        ...

    def own_revision(self) -> int:
        """Returns the number of the last change that this process has committed, without a look."""
        ...

    def view(self) -> AbstractAsyncContextManager[View]:
        """Opens a view; it waits for no writer."""
        ...
