"""A scheduler without a database: its state in memory, its clock in hand, its events in a list."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mltrainer_common.database import DatabaseConflictError, open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_scheduler.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_scheduler.application.accept_trainings import Accepted, AcceptTraining, AcceptTrainingsHandler
from mltrainer_scheduler.application.browse import BrowseHandler
from mltrainer_scheduler.application.cancel_training import CancelTrainingHandler
from mltrainer_scheduler.application.conclude_attempt import (
    AttemptFailure,
    AttemptSuccess,
    ConcludeAttemptHandler,
    Conclusion,
)
from mltrainer_scheduler.application.explain_training import ExplainTrainingHandler
from mltrainer_scheduler.application.lapse_leases import LapseLeasesHandler
from mltrainer_scheduler.application.place_trainings import PassResult, PlaceTrainingsHandler
from mltrainer_scheduler.application.ports import HeldAllocation, Waiting
from mltrainer_scheduler.application.record_progress import RecordProgressHandler
from mltrainer_scheduler.application.renew_allocations import RenewAllocationsHandler
from mltrainer_scheduler.application.replicate import ReplicateHandler
from mltrainer_scheduler.application.resolve_training import KeyResolver
from mltrainer_scheduler.domain.catalogue import CatalogueEntry, Knowledge, TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.keys import BarCalendar
from mltrainer_scheduler.domain.placement import Capacity, NodeReport, QueueEntry, demand_of, offered
from mltrainer_scheduler.domain.specification import (
    Budget,
    Evaluation,
    Search,
    Target,
    TargetKind,
    TrainingSpec,
)
from mltrainer_scheduler.domain.training import (
    Allocation,
    Computation,
    ComputationId,
    SchedulingPolicy,
    Training,
    TrainingState,
    computation_id,
)
from mltrainer_scheduler.wire.events import to_message
from mltrainer_testkit.databases import create_postgres_database

START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SPEC = TrainingSpec(
    study="studies/vol5",
    target=Target(TargetKind.LOG_REALIZED_VARIANCE, 5),
    symbols=("AAPL", "MSFT"),
    feature_views=("bars_daily",),
    as_of=datetime(2022, 12, 28, 21, tzinfo=UTC),
    evaluation=Evaluation(datetime(2015, 1, 1, tzinfo=UTC)),
    search=Search(("ridge",), seed=1),
    budget=Budget(cpu_seconds=60.0),
)
RIDGE = CatalogueEntry("ridge", "linear", frozenset({TargetKind.LOG_REALIZED_VARIANCE}), "d1")
BROKEN = CatalogueEntry("lightgbm", "trees", frozenset(TargetKind), "d2", "libgomp is missing")
RELEASE = TrainerRelease("trainers/default", "code", "environment", (RIDGE, BROKEN), 1)
VIEW = ViewVersion("bars_daily", 1, "definition", 0, 1)


@dataclass(slots=True)
class Store:
    trainings: dict[str, Training] = field(default_factory=dict)
    computations: dict[ComputationId, Computation] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    nodes: dict[str, NodeReport] = field(default_factory=dict)
    revision: int = 0
    release: TrainerRelease | None = None
    views: dict[tuple[str, int], ViewVersion] = field(default_factory=dict)
    claimed: set[tuple[str, str]] = field(default_factory=set)
    events: list[Any] = field(default_factory=list)

    def copy(self) -> "Store":
        return Store(
            dict(self.trainings),
            dict(self.computations),
            dict(self.allocations),
            dict(self.nodes),
            self.revision,
            self.release,
            dict(self.views),
            set(self.claimed),
            list(self.events),
        )


class InMemoryTrainingRepository:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, name: str) -> Training | None:
        return self._store.trainings.get(name)

    async def of_request(self, request_id: str) -> Training | None:
        return next((item for item in self._all() if item.request_id == request_id), None)

    async def known_requests(self, request_ids: Collection[str]) -> set[str]:
        return {item.request_id for item in self._all() if item.request_id in request_ids}

    async def add(self, training: Training) -> None:
        if training.request_id and await self.of_request(training.request_id):
            raise DatabaseConflictError
        self._store.trainings[training.name] = training

    async def save(self, training: Training, previous_revision: int) -> None:
        if self._store.trainings[training.name].revision != previous_revision:
            raise DatabaseConflictError
        self._store.trainings[training.name] = training

    async def is_any_waiting(self, ready_before: datetime) -> bool:
        return bool(self._ready(ready_before))

    async def unsettled(self, ready_before: datetime, limit: int) -> list[Training]:
        return [item for item in self._ready(ready_before) if not _is_settled(item, ready_before)][:limit]

    async def waiting(self, ready_before: datetime, limit: int) -> list[Waiting]:
        settled = [item for item in self._ready(ready_before) if _is_settled(item, ready_before)]
        queues: dict[str, int] = {}
        positioned = []
        for item in sorted(settled, key=lambda item: (-item.spec.priority, item.name)):
            position = queues[item.spec.queue] = queues.get(item.spec.queue, 0) + 1
            positioned.append((position, item.spec.queue, _waiting(item)))
        return [item for _, _, item in sorted(positioned, key=lambda entry: entry[:2])][:limit]

    def _ready(self, before: datetime) -> list[Training]:
        queued = [item for item in self._all() if item.state is TrainingState.QUEUED]
        return [item for item in queued if item.ready_time <= before]

    async def joined_to(self, computation: ComputationId) -> list[Training]:
        return [
            item
            for item in self._all()
            if item.state is TrainingState.JOINED and computation_id(item) == computation
        ]

    async def page(
        self, limit: int, before: str, study: str, states: Collection[TrainingState]
    ) -> list[Training]:
        newest_first = reversed(self._all())
        chosen = [
            item
            for item in newest_first
            if (not before or item.name < before)
            and (not study or item.spec.study == study)
            and (not states or item.state in states)
        ]
        return chosen[:limit]

    def _all(self) -> list[Training]:
        return [self._store.trainings[name] for name in sorted(self._store.trainings)]


def _waiting(training: Training) -> Waiting:
    spec = training.spec
    entry = QueueEntry(demand_of(training.name, spec.resources), spec.queue, spec.priority)
    return Waiting(entry, training.reason)


def _is_settled(training: Training, now: datetime) -> bool:
    deadline = training.spec.budget.deadline_time if training.spec.budget else None
    return bool(training.computation_key) and (deadline is None or deadline > now)


class InMemoryComputationRepository:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, computation: ComputationId) -> Computation | None:
        return self._store.computations.get(computation)

    async def add(self, computation: Computation) -> None:
        if computation.id in self._store.computations:
            raise DatabaseConflictError
        self._store.computations[computation.id] = computation

    async def save(self, computation: Computation, previous_revision: int) -> None:
        if self._store.computations[computation.id].revision != previous_revision:
            raise DatabaseConflictError
        self._store.computations[computation.id] = computation

    async def remove(self, computation: Computation) -> None:
        if self._store.computations[computation.id].revision != computation.revision:
            raise DatabaseConflictError
        del self._store.computations[computation.id]


class InMemoryClusterRepository:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def nodes(self, limit: int = 0, after: str = "") -> list[NodeReport]:
        names = sorted(name for name in self._store.nodes if name > after)
        return [self._store.nodes[name] for name in names][: limit or None]

    async def report(self, node: NodeReport) -> bool:
        known = self._store.nodes.get(node.name)
        if known is not None and known.revision >= node.revision:
            return False
        self._store.nodes[node.name] = node
        return True

    async def held(self, limit: int = 0, after: str = "") -> list[HeldAllocation]:
        living = [item for item in self._living() if item.name > after][: limit or None]
        return [HeldAllocation(item, self._store.trainings[item.training]) for item in living]

    async def held_by(self, training: str) -> list[Allocation]:
        return [item for item in self._living() if item.training == training]

    async def living(self, names: Collection[str]) -> list[Allocation]:
        return [item for item in self._living() if item.name in names]

    async def used(self) -> dict[str, Capacity]:
        used: dict[str, Capacity] = {}
        for item in self._living():
            worker = demand_of("", self._store.trainings[item.training].spec.resources).worker
            for _ in range(item.share.workers):
                used[item.share.node] = used.get(item.share.node, Capacity()) + worker
        return used

    async def revision(self) -> int:
        return self._store.revision

    async def allocate(self, allocations: Sequence[Allocation], revision: int) -> int:
        if self._store.revision != revision:
            raise DatabaseConflictError
        self._store.revision += 1
        self._store.allocations |= {item.name: item for item in allocations}
        return self._store.revision

    async def update(self, allocations: Sequence[Allocation]) -> None:
        self._store.allocations |= {item.name: item for item in allocations}

    async def due(self, now: datetime, limit: int) -> list[Allocation]:
        return [item for item in self._living() if item.lease_expire_time <= now][:limit]

    async def prolong(self, trainings: Collection[str], until: datetime) -> None:
        chosen = [item for item in self._living() if item.training in trainings]
        await self.update([replace(item, lease_expire_time=until) for item in chosen])

    async def prolong_all(self, until: datetime) -> int:
        chosen = [item for item in self._living() if item.lease_expire_time < until]
        await self.update([replace(item, lease_expire_time=until) for item in chosen])
        return len(chosen)

    def _living(self) -> list[Allocation]:
        allocations = self._store.allocations
        return [allocations[name] for name in sorted(allocations) if allocations[name].end_time is None]


class InMemoryKnowledgeRepository:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self) -> Knowledge:
        return Knowledge(
            self._store.release, tuple(self._store.views[key] for key in sorted(self._store.views))
        )

    async def store_release(self, release: TrainerRelease, received_time: datetime) -> bool:
        known = self._store.release
        if known is not None and known.revision >= release.revision:
            return False
        self._store.release = release
        return True

    async def store_view(self, view: ViewVersion) -> bool:
        key = (view.feature_view, view.version)
        known = self._store.views.get(key)
        if known is not None and known.revision >= view.revision:
            return False
        self._store.views[key] = view
        return True


class InMemoryInbox:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def claim(self, event_id: str, consumer: str = "default") -> bool:
        is_new = (event_id, consumer) not in self._store.claimed
        self._store.claimed.add((event_id, consumer))
        return is_new


class InMemoryOutbox:
    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, event: Any) -> None:
        self._store.events.append(event)


class InMemoryUnitOfWork:
    def __init__(self, store: Store, commit: Callable[[], None]) -> None:
        self.trainings = InMemoryTrainingRepository(store)
        self.computations = InMemoryComputationRepository(store)
        self.cluster = InMemoryClusterRepository(store)
        self.knowledge = InMemoryKnowledgeRepository(store)
        self.inbox = InMemoryInbox(store)
        self.outbox = InMemoryOutbox(store)
        self._commit = commit

    async def commit(self) -> None:
        self._commit()


class InMemoryUnitOfWorkFactory:
    def __init__(self) -> None:
        self.store = Store()

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[InMemoryUnitOfWork]:
        draft = self.store.copy()

        def commit() -> None:
            self.store = draft

        yield InMemoryUnitOfWork(draft, commit)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[InMemoryUnitOfWork]:
        yield InMemoryUnitOfWork(self.store.copy(), lambda: None)


class ManualClock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Scheduler:
    """Drives the use cases; every call uses a new event id unless it is given one."""

    def __init__(self, unit_of_work: Any = None, policy: SchedulingPolicy | None = None) -> None:
        self.unit_of_work = unit_of_work or InMemoryUnitOfWorkFactory()
        self.clock = ManualClock()
        self.policy = policy or SchedulingPolicy()
        resolve = KeyResolver(BarCalendar(), self.policy)
        uow = self.unit_of_work
        self.accept = AcceptTrainingsHandler(uow, self.clock, self.clock, self._next, resolve)
        self.place_handler = PlaceTrainingsHandler(uow, self.clock, self._next, resolve, self.policy)
        self.conclude = ConcludeAttemptHandler(uow, self.clock, self.policy)
        self.progress = RecordProgressHandler(uow)
        self.renew = RenewAllocationsHandler(uow, self.clock, self.policy)
        self.lapse = LapseLeasesHandler(uow, self.clock, self.policy)
        self.cancel = CancelTrainingHandler(uow, self.clock)
        self.explain = ExplainTrainingHandler(uow, self.clock, self.policy)
        self.replicate = ReplicateHandler(uow, self.clock)
        self.browse = BrowseHandler(uow)
        self._counter = 0

    def _next(self) -> str:
        self._counter += 1
        return f"{self._counter:08d}"

    @property
    def store(self) -> Store:
        return self.unit_of_work.store

    @property
    def events(self) -> list[Any]:
        return self.store.events

    def event_names(self, training: str = "") -> list[str]:
        return [
            type(event).__name__ for event in self.events if not training or event.training.name == training
        ]

    async def ready(self, cpus: float = 2.0, node: str = "nodes/a") -> "Scheduler":
        """Announces a release, a view and a node."""
        await self.replicate.release(RELEASE)
        await self.replicate.views([VIEW])
        await self.heartbeat(cpus, node)
        return self

    async def heartbeat(self, cpus: float = 2.0, node: str = "nodes/a") -> None:
        total = offered(cpus, 8 << 30, 0.0)
        revision = int(self.clock.now().timestamp() * 1_000)
        report = NodeReport(node, total, "", True, False, "", revision, self.clock.now())  # noqa: FBT003
        await self.replicate.nodes([report])

    async def request(self, request_id: str, spec: TrainingSpec = SPEC, event_id: str = "") -> Accepted:
        return (await self.accept([AcceptTraining(event_id or self._next(), request_id, spec)]))[0]

    async def place(self) -> PassResult:
        result = await self.place_handler()
        while result.try_again:
            again = await self.place_handler()
            result = PassResult((*result.placed, *again.placed), again.try_again)
        return result

    async def training(self, request_id: str) -> Training:
        return await self.browse.training_of_request(request_id)

    async def succeed(self, training: Training, token: int = 0, event_id: str = "") -> Conclusion:
        report = AttemptSuccess(
            event_id or self._next(),
            training.name,
            token or training.fencing_token,
            f"manifest of {training.name}",
            training.computation_key,
            "EDGE",
        )
        return await self.conclude(report)

    async def fail(
        self, training: Training, *, retryable: bool, token: int = 0, reason: str = "PROCESS_DIED"
    ) -> Conclusion:
        number = token or training.fencing_token
        report = AttemptFailure(self._next(), training.name, number, reason, "it ended", retryable)
        return await self.conclude(report)


@pytest.fixture(scope="session")
def make_scheduler() -> Callable[..., Scheduler]:
    return Scheduler


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture(scope="session")
def spec() -> Callable[..., TrainingSpec]:
    """Builds a valid specification with parts changed."""

    def build(**changes: Any) -> TrainingSpec:
        return replace(SPEC, **changes)

    return build


@pytest.fixture(scope="session")
def seeded(spec: Callable[..., TrainingSpec]) -> Callable[..., TrainingSpec]:
    """Builds a valid specification of a computation of its own."""

    def build(seed: int, **changes: Any) -> TrainingSpec:
        return spec(search=Search(("ridge",), seed=seed), **changes)

    return build


@pytest.fixture(scope="session")
def release() -> TrainerRelease:
    return RELEASE


@pytest.fixture(scope="session")
def view() -> ViewVersion:
    return VIEW


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
async def unit_of_work(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Gives the unit of work of each kind in turn."""
    if request.param == "memory":
        yield InMemoryUnitOfWorkFactory()
        return
    url = f"sqlite:///{tmp_path}/scheduler.db"
    if request.param == "postgresql":
        url = await create_postgres_database(request.getfixturevalue("postgres_server_url"))
    await migrate(url, "mltrainer_scheduler.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(database, "scheduler", OutboxSignal(), encode=to_message)
        yield SqlUnitOfWorkFactory(database, transactions)
