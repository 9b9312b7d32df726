"""A scheduler without a database: its state in memory, its clock in hand, its events in a list."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
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
from mltrainer_scheduler.application.lead import LeadHandler
from mltrainer_scheduler.application.manage_queues import QueuesHandler
from mltrainer_scheduler.application.place_trainings import PassResult, PlaceTrainingsHandler
from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.ports import HeldAllocation, Lock
from mltrainer_scheduler.application.preview_training import PreviewTrainingHandler
from mltrainer_scheduler.application.record_progress import AttemptProgress, RecordProgressHandler
from mltrainer_scheduler.application.renew_allocations import RenewAllocationsHandler
from mltrainer_scheduler.application.replicate import ReplicateHandler
from mltrainer_scheduler.application.resolve_training import KeyResolver
from mltrainer_scheduler.application.watch_spot import WatchSpotHandler
from mltrainer_scheduler.bootstrap import planning_policy
from mltrainer_scheduler.domain.catalogue import CatalogueEntry, Knowledge, TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.cluster import Capacity, NodeReport, demand_of, offered
from mltrainer_scheduler.domain.facts import Delta, Duration, TrainingFact, fact_of
from mltrainer_scheduler.domain.keys import BarCalendar, KeyedInputs
from mltrainer_scheduler.domain.prices import Price, PriceList
from mltrainer_scheduler.domain.specification import (
    Budget,
    Evaluation,
    Search,
    Target,
    TargetKind,
    TrainingSpec,
)
from mltrainer_scheduler.domain.spot_history import Pool, SpotRun
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
from mltrainer_scheduling.fair_share import PastUse
from mltrainer_scheduling.quotas import Queue
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
PRICES = PriceList(Price(0.04, 0.01), Price(0.004, 0.001), {"A100": Price(3.0, 1.0)})
VIEW = ViewVersion("bars_daily", 1, "definition", 0, 1)


@dataclass(slots=True)
class Store:
    trainings: dict[str, Training] = field(default_factory=dict)
    computations: dict[ComputationId, Computation] = field(default_factory=dict)
    inputs: dict[str, bytes] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    nodes: dict[str, NodeReport] = field(default_factory=dict)
    revision: int = 0
    release: TrainerRelease | None = None
    views: dict[tuple[str, int], ViewVersion] = field(default_factory=dict)
    claimed: set[tuple[str, str]] = field(default_factory=set)
    events: list[Any] = field(default_factory=list)
    changes: dict[str, int] = field(default_factory=dict)
    queues: tuple[Queue, ...] = ()
    past: dict[str, PastUse] = field(default_factory=dict)
    spot_runs: dict[tuple[Pool, datetime], SpotRun] = field(default_factory=dict)
    durations: list[Duration] = field(default_factory=list)
    knowledge: int = 0
    leader: tuple[str, datetime] | None = None

    def copy(self) -> "Store":
        return replace(self, **{name: copy(getattr(self, name)) for name in self.__slots__})


class Changes:
    """Numbers the transaction at its first change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.number: int | None = None

    def take(self) -> int:
        if self.number is None:
            self._store.revision += 1
            self.number = self._store.revision
        return self.number

    def note(self, *names: str) -> None:
        number = self.take()
        self._store.changes.update(dict.fromkeys(names, number))


class InMemoryTrainingRepository:
    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def get_all(self, names: Collection[str]) -> dict[str, Training]:
        return {name: self._store.trainings[name] for name in sorted(names) if name in self._store.trainings}

    async def save_all(self, trainings: Sequence[Training]) -> None:
        for training in trainings:
            await self.save(training, self._store.trainings[training.name].revision)

    async def get(self, name: str) -> Training | None:
        return self._store.trainings.get(name)

    async def of_request(self, request_id: str) -> Training | None:
        return next((item for item in self._all() if item.request_id == request_id), None)

    async def known_requests(self, request_ids: Collection[str]) -> set[str]:
        return {item.request_id for item in self._all() if item.request_id in request_ids}

    async def add_all(self, trainings: Sequence[Training]) -> None:
        for training in trainings:
            if training.request_id and await self.of_request(training.request_id):
                raise DatabaseConflictError
            self._store.trainings[training.name] = training
            self._changes.note(training.name)

    async def save(self, training: Training, previous_revision: int) -> None:
        if self._store.trainings[training.name].revision != previous_revision:
            raise DatabaseConflictError
        self._store.trainings[training.name] = training
        self._changes.note(training.name)

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

    async def remember(self, inputs: KeyedInputs) -> None:
        self._store.inputs[inputs.key] = inputs.document

    async def inputs(self, keys: Collection[str]) -> dict[str, bytes]:
        return {key: self._store.inputs[key] for key in keys if key in self._store.inputs}

    async def finished(self, study: str, before: str, limit: int) -> list[Computation]:
        found = [one for one in self._store.computations.values() if one.is_finished and one.leader < before]
        newest = sorted(found, key=lambda one: one.leader, reverse=True)
        return sorted(newest, key=lambda one: one.id.study != study)[:limit]


class InMemoryClusterRepository:
    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def nodes(self, limit: int = 0, after: str = "") -> list[NodeReport]:
        names = sorted(name for name in self._store.nodes if name > after)
        return [self._store.nodes[name] for name in names][: limit or None]

    async def report(self, node: NodeReport) -> bool:
        known = self._store.nodes.get(node.name)
        if known is not None and known.revision >= node.revision:
            return False
        self._store.nodes[node.name] = node
        if known is not None and replace(known, revision=0, seen_time=node.seen_time) == replace(
            node, revision=0
        ):
            return False
        self._changes.note(node.name)
        return True

    async def held(self, limit: int = 0, after: str = "") -> list[HeldAllocation]:
        living = [item for item in self._living() if item.name > after][: limit or None]
        return [HeldAllocation(item, self._store.trainings[item.training]) for item in living]

    async def held_by(self, training: str) -> list[Allocation]:
        return [item for item in self._living() if item.training == training]

    async def living(self, names: Collection[str]) -> list[Allocation]:
        return [item for item in self._living() if item.name in names]

    async def held_by_all(self, names: Collection[str]) -> dict[str, list[Allocation]]:
        return {name: await self.held_by(name) for name in names}

    async def used(self) -> dict[str, tuple[Capacity, int]]:
        used: dict[str, tuple[Capacity, int]] = {}
        for item in self._living():
            worker = demand_of("", self._store.trainings[item.training].spec.resources).worker
            held, count = used.get(item.share.node, (Capacity(), 0))
            for _ in range(item.share.workers):
                held += worker
            used[item.share.node] = (held, count + 1)
        return used

    async def allocate(self, allocations: Sequence[Allocation]) -> None:
        self._changes.take()
        self._store.allocations |= {item.name: item for item in allocations}

    async def update(self, allocations: Sequence[Allocation]) -> None:
        self._store.allocations |= {item.name: item for item in allocations}

    async def due(self, now: datetime, limit: int) -> list[Allocation]:
        return [item for item in self._living() if item.lease_expire_time <= now][:limit]

    async def prolong(self, trainings: Collection[str], until: datetime) -> None:
        chosen = [item for item in self._living() if item.training in trainings]
        await self.update([replace(item, lease_expire_time=until) for item in chosen])

    async def prolong_all(self, until: datetime) -> int:
        chosen = [item for item in self._living() if item.lease_expire_time != until]
        await self.update([replace(item, lease_expire_time=until) for item in chosen])
        return len(chosen)

    def _living(self) -> list[Allocation]:
        allocations = self._store.allocations
        return [allocations[name] for name in sorted(allocations) if allocations[name].end_time is None]


class InMemoryPlanningRepository:
    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def lock(self) -> int:
        return self._changes.take()

    async def revision(self) -> int:
        return self._store.revision

    async def changes(self, since: int, duration_count: int) -> list[Delta]:
        store = self._store
        changed = [name for name, number in store.changes.items() if number > since]
        return [
            Delta(
                store.revision - (self._changes.number is not None),
                [self._fact(store.trainings[name]) for name in sorted(changed) if name in store.trainings],
                [store.nodes[name] for name in changed if name in store.nodes],
                store.queues,
                dict(store.past),
                store.durations[duration_count:],
                len(store.durations),
                store.knowledge,
            )
        ]

    def _fact(self, training: Training) -> TrainingFact:
        living = [item for item in self._store.allocations.values() if item.end_time is None]
        mine = sorted((item for item in living if item.training == training.name), key=lambda item: item.name)
        return fact_of(training, mine)

    async def spot_runs(self, pools: Collection[Pool]) -> list[SpotRun]:
        runs = sorted(self._store.spot_runs.values(), key=lambda run: run.begin_time)
        return [run for run in runs if run.pool in pools]

    async def last_spot_runs(self) -> list[SpotRun]:
        runs = sorted(self._store.spot_runs.values(), key=lambda run: run.begin_time)
        return list({run.pool: run for run in runs}.values())

    async def keep_spot_runs(self, runs: Sequence[SpotRun], since: datetime) -> None:
        kept = {key: run for key, run in self._store.spot_runs.items() if run.end_time >= since}
        self._store.spot_runs = kept | {(run.pool, run.begin_time): run for run in runs}

    async def checkpoints_s(self, heard_since: datetime) -> dict[str, float]:
        return {
            item.training: item.checkpoint_time.timestamp()
            for item in self._store.allocations.values()
            if item.end_time is None
            and item.checkpoint_time is not None
            and item.checkpoint_heard_time is not None
            and item.checkpoint_heard_time >= heard_since
        }

    async def silent(self, heard_since: datetime) -> frozenset[str]:
        return frozenset(node.name for node in self._store.nodes.values() if node.seen_time < heard_since)

    async def queues(self) -> tuple[Queue, ...]:
        return self._store.queues

    async def queues_revision(self) -> int:
        return self._store.changes.get("queues", 0)

    async def set_queues(self, queues: Sequence[Queue]) -> None:
        self._store.queues = tuple(sorted(queues, key=lambda queue: queue.name))
        self._changes.note("queues")

    async def past(self, queues: Collection[str]) -> dict[str, PastUse]:
        return {queue: use for queue, use in self._store.past.items() if queue in queues}

    async def set_past(self, past: Mapping[str, PastUse]) -> None:
        self._changes.take()
        self._store.past |= past

    async def add_duration(self, taken: Duration) -> None:
        self._changes.take()
        self._store.durations.append(taken)

    async def lead(self, holder: str, now: datetime, length_s: float) -> bool:
        if self._store.leader is not None:
            present, expire_time = self._store.leader
            if present != holder and expire_time > now:
                return False
        self._store.leader = (holder, now + timedelta(seconds=length_s))
        return True

    async def lock_for_leader(self, holder: str, heard_since: datetime) -> Lock | None:
        number = await self.lock()
        leads = self._store.leader is not None and self._store.leader[0] == holder
        return Lock(number, await self.silent(heard_since)) if leads else None


class InMemoryKnowledgeRepository:
    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def load(self) -> Knowledge:
        return Knowledge(
            self._store.release,
            tuple(self._store.views[key] for key in sorted(self._store.views)),
            self._store.knowledge,
        )

    async def store_release(self, release: TrainerRelease, received_time: datetime) -> bool:
        known = self._store.release
        if known is not None and known.revision >= release.revision:
            return False
        self._store.release = release
        return self._is_news()

    def _is_news(self) -> bool:
        self._changes.take()
        self._store.knowledge += 1
        return True

    async def store_view(self, view: ViewVersion) -> bool:
        key = (view.feature_view, view.version)
        known = self._store.views.get(key)
        if known is not None and known.revision >= view.revision:
            return False
        self._store.views[key] = view
        return self._is_news()


class InMemoryInbox:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def claim(self, event_id: str, consumer: str = "default") -> bool:
        is_new = (event_id, consumer) not in self._store.claimed
        self._store.claimed.add((event_id, consumer))
        return is_new

    async def claim_all(self, event_ids: Sequence[str], consumer: str = "default") -> set[str]:
        return {event_id for event_id in event_ids if await self.claim(event_id, consumer)}


class InMemoryOutbox:
    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, event: Any) -> None:
        self._store.events.append(event)


class InMemoryUnitOfWork:
    def __init__(self, store: Store, commit: Callable[[], None]) -> None:
        changes = Changes(store)
        self.trainings = InMemoryTrainingRepository(store, changes)
        self.computations = InMemoryComputationRepository(store)
        self.cluster = InMemoryClusterRepository(store, changes)
        self.knowledge = InMemoryKnowledgeRepository(store, changes)
        self.planning = InMemoryPlanningRepository(store, changes)
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

    def own_revision(self) -> int:
        return self.store.revision

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

    def __init__(
        self,
        unit_of_work: Any = None,
        policy: SchedulingPolicy | None = None,
        holder: str = "scheduler-0",
        planner: Planner | None = None,
    ) -> None:
        self.unit_of_work = unit_of_work or InMemoryUnitOfWorkFactory()
        self.clock = ManualClock()
        self.policy = policy or SchedulingPolicy()
        self.planner = planner or self.fresh_planner()
        resolve = KeyResolver(BarCalendar(), self.policy)
        uow = self.unit_of_work
        self.lead = LeadHandler(uow, self.clock, holder, 5.0)
        self.accept = AcceptTrainingsHandler(uow, self.clock, self.clock, self._next, resolve)
        self.place_handler = PlaceTrainingsHandler(
            uow, self.clock, self._next, resolve, self.policy, self.planner, holder
        )
        self.conclude = ConcludeAttemptHandler(uow, self.clock, self.policy)
        self.progress = RecordProgressHandler(uow, self.clock)
        self.renew = RenewAllocationsHandler(uow, self.clock, self.policy)
        self.lapse = LapseLeasesHandler(uow, self.clock, self.policy)
        self.cancel = CancelTrainingHandler(uow, self.clock, self.policy)
        self.explain = ExplainTrainingHandler(uow, self.clock, self.planner)
        self.queues = QueuesHandler(uow, self.clock, self.planner, self.policy)
        self.preview = PreviewTrainingHandler(
            uow, self.clock, self.clock, self.planner, BarCalendar(), PRICES
        )
        self.replicate = ReplicateHandler(uow, self.clock)
        self.browse = BrowseHandler(uow)
        self.watch_spot = WatchSpotHandler(uow, self.clock, self.planner)
        self._counter = 0

    async def saved(self, request: str, after_s: float | None, revision: int = 2, token: int = 1) -> None:
        """Reports that the last checkpoint was so long after the start of the attempt."""
        training = await self.training(request)
        async with self.unit_of_work.view() as view:
            held = await view.cluster.held_by(training.name)
        checkpoint_time = None if after_s is None else held[0].start_time + timedelta(seconds=after_s)
        await self.record(held[0], checkpoint_time, revision, token)

    async def record(
        self, held: Allocation, checkpoint_time: datetime | None, revision: int = 2, token: int = 1
    ) -> None:
        """Reports when the last checkpoint was."""
        await self.progress([AttemptProgress(held.name, token, revision, "trials", 0.5, checkpoint_time)])

    def _next(self) -> str:
        self._counter += 1
        return f"{self._counter:08d}"

    def crash(self) -> None:
        """Starts again with nothing but what was committed."""
        self.planner = self.fresh_planner()
        self.place_handler = replace(self.place_handler, planner=self.planner)
        self.explain = replace(self.explain, planner=self.planner)

    def fresh_planner(self) -> Planner:
        """Returns what a scheduler begins with after a crash."""
        return Planner(planning_policy("default"), self.policy)

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
        await self.lead()
        result = await self.place_handler()
        while result.try_again:
            again = await self.place_handler()
            result = PassResult(
                (*result.placed, *again.placed), (*result.stopped, *again.stopped), again.try_again
            )
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
def prices() -> PriceList:
    return PRICES


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
