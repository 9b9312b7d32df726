"""Random histories through the real path: events, snapshot, plan, transaction.

`MLTRAINER_SCHEDULES=10000 pytest --hypothesis-profile=search services/scheduler/tests/unit/test_schedules.py`
tries more of them; half of them in a scheduler that plans narrowly from the first training on.
"""

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mltrainer_scheduler.application.planner import Cadence, Planner
from mltrainer_scheduler.application.renew_allocations import Claim
from mltrainer_scheduler.bootstrap import planning_policy
from mltrainer_scheduler.domain.cluster import Capacity, NodeReport
from mltrainer_scheduler.domain.specification import Resources
from mltrainer_scheduler.domain.training import SchedulingPolicy, Terms, TrainingState
from mltrainer_scheduling.quotas import UNLIMITED, Queue, QuotaBook, plus

SCHEDULES = int(os.environ.get("MLTRAINER_SCHEDULES", "60"))
MAX_PREEMPTIONS = 2
BOUNDS = SchedulingPolicy(lease_s=30.0, terms=Terms(minimum_run_s=0.0, max_preemptions=MAX_PREEMPTIONS))
NODES = ("nodes/a", "nodes/b", "nodes/c")


@dataclass(frozen=True)
class Report:
    node: int
    cpus: int
    gpus: int
    gpu_type: str = ""
    spot: bool = False


@dataclass(frozen=True)
class Ask:
    queue: str
    resources: Resources
    priority: int


@dataclass(frozen=True)
class End:
    which: int
    outcome: str


@dataclass(frozen=True)
class Pass:
    seconds: float
    silent: int = -1


_REPORTS = st.builds(
    Report,
    st.integers(0, 2),
    st.integers(0, 8),
    st.integers(0, 4),
    st.sampled_from(["", "A100"]),
    st.booleans(),
)
_RESOURCES = st.builds(
    Resources,
    cpus=st.sampled_from([0.5, 1.0, 1.0, 2.0]),
    memory_bytes=st.just(1 << 20),
    gpus=st.sampled_from([0.0, 0.0, 0.4, 0.6, 1.0, 2.0]),
    gang_workers=st.integers(1, 4),
    checkpoint_interval_s=st.sampled_from([0.0, 5.0]),
)
_ASKS = st.builds(Ask, st.sampled_from(["a", "b", "c", "x"]), _RESOURCES, st.integers(-1, 1))
_ENDS = st.builds(End, st.integers(0, 9), st.sampled_from(["succeed", "retry", "fail", "cancel", "stale"]))
_PASSES = st.builds(Pass, st.sampled_from([0.0, 4.0, 16.0, 31.0]), st.integers(-1, 2))
_HISTORIES = st.lists(
    st.one_of(_ASKS, _ASKS, _ASKS, _ASKS, _REPORTS, _ENDS, _PASSES), min_size=8, max_size=24
)
_AMOUNTS = st.sampled_from([0, 1_000, 3_000])


@st.composite
def _trees(draw: Any) -> list[Queue]:
    if draw(st.booleans()):
        return []
    ceiling = draw(st.sampled_from([UNLIMITED, 4_000]))
    return [
        Queue("a", guaranteed=(draw(_AMOUNTS), 0, 0), weight=2.0),
        Queue("top", ceiling=(ceiling, UNLIMITED, 3_000)),
        Queue("b", "top", guaranteed=(draw(_AMOUNTS), 0, 0)),
        Queue("c", "top"),
    ]


class History:
    """Applies steps to a scheduler and looks at what must hold after each pass."""

    def __init__(
        self, scheduler: Any, tree: list[Queue], seeded: Callable[..., Any], *, is_large: bool = False
    ) -> None:
        self.scheduler = scheduler
        self.is_large = is_large
        self.tree = tree
        self._seeded = seeded
        self._asked = 0
        self._revision = 0
        self._reports: dict[int, Report] = {}
        self._shrunk = Counter[str]()

    async def run(self, steps: list[Any]) -> None:
        await self.scheduler.ready(cpus=3.0)
        for node in range(len(NODES)):
            await self._report(Report(node, 4, 2))
        await self.scheduler.queues.set(self.tree, None)
        for step in steps:
            await self._apply(step)
            await self.check_crash()
            done = await self.scheduler.place()
            self.check(done)
            again = await self.scheduler.place()
            assert (again.placed, again.stopped) == ((), ()), (
                "a second look at the same state changed something"
            )

    async def _apply(self, step: Any) -> None:
        match step:
            case Report():
                await self._report(step)
            case Ask():
                self._asked += 1
                spec = self._seeded(
                    self._asked, queue=step.queue, resources=step.resources, priority=step.priority
                )
                await self.scheduler.request(f"r{self._asked}", spec)
            case End():
                await self._end(step)
            case Pass():
                await self._pass(step)

    async def _pass(self, step: Pass) -> None:
        """Time passes; all nodes but one go on reporting and renewing."""
        self.scheduler.clock.advance(step.seconds)
        store = self.scheduler.store
        for number, name in enumerate(NODES):
            if number == step.silent:
                continue
            await self._report(self._reports[number])
            claims = [
                Claim(item.name, item.fencing_token)
                for item in store.allocations.values()
                if item.end_time is None and item.share.node == name
            ]
            await self.scheduler.renew(name, claims)
        await self.scheduler.lapse()

    async def _report(self, step: Report) -> None:
        self._revision += 1
        self._reports[step.node] = step
        total = Capacity(1_000 * step.cpus, 8 << 30, 1_000 * step.gpus)
        name, now = NODES[step.node], self.scheduler.clock.now()
        revision = int(now.timestamp() * 1_000) + self._revision
        report = NodeReport(name, total, step.gpu_type, step.cpus > 0, step.spot, "", revision, now)
        await self.scheduler.replicate.nodes([report])

    async def _end(self, step: End) -> None:
        placed = [
            item
            for _, item in sorted(self.scheduler.store.trainings.items())
            if item.state is TrainingState.PLACED
        ]
        if not placed:
            return
        training = placed[step.which % len(placed)]
        match step.outcome:
            case "succeed":
                await self.scheduler.succeed(training)
            case "cancel":
                await self.scheduler.cancel(training.name)
            case "stale":
                await self.scheduler.succeed(training, token=training.fencing_token + 1)
            case outcome:
                await self.scheduler.fail(training, retryable=outcome == "retry")

    async def check_crash(self) -> None:
        """A scheduler that has just started plans what this one plans, unless that plans around events."""
        if self.is_large:
            return
        planners = (self.scheduler.planner, self.scheduler.fresh_planner())
        now = self.scheduler.clock.now()
        plans = []
        async with self.scheduler.unit_of_work.view() as view:
            for planner in planners:
                await planner.follow(view.planning, now)
                decided = await planner.plan(now)
                plans.append((decided.stops, decided.begins, dict(decided.waits)))
        assert plans[0] == plans[1]

    def check(self, done: Any) -> None:
        store = self.scheduler.store
        living = [item for item in store.allocations.values() if item.end_time is None]
        self._check_gangs(living)
        self._check_nodes(living)
        self._check_queues(living)
        # A node that has shrunk leaves no choice; for others, a training gives way so often and no oftener.
        self._shrunk.update(item.name for item in done.stopped if item.reason == "NODE_SHRANK")
        assert all(
            item.preemption_count - self._shrunk[item.name] <= MAX_PREEMPTIONS
            for item in store.trainings.values()
        )

    def _check_gangs(self, living: list[Any]) -> None:
        workers = Counter[str]()
        for item in living:
            workers[item.training] += item.share.workers
            assert item.fencing_token == self.scheduler.store.trainings[item.training].fencing_token
        for training in self.scheduler.store.trainings.values():
            is_placed = training.state is TrainingState.PLACED
            assert workers[training.name] == (training.spec.resources.gang_workers if is_placed else 0)

    def _check_nodes(self, living: list[Any]) -> None:
        store = self.scheduler.store
        cpus, devices, whole = Counter[str](), defaultdict[str, Counter[int]](Counter), Counter[str]()
        for item in living:
            resources = store.trainings[item.training].spec.resources
            cpus[item.share.node] += item.share.workers * round(resources.cpus * 1_000)
            if 0.0 < resources.gpus < 1.0:
                devices[item.share.node][item.share.device] += item.share.workers * round(
                    resources.gpus * 1_000
                )
            else:
                whole[item.share.node] += item.share.workers * round(resources.gpus)
        for name, node in store.nodes.items():
            assert cpus[name] <= node.total.cpu_millis
            assert all(millis <= 1_000 for millis in devices[name].values())
            assert whole[name] + len(devices[name]) <= node.total.gpu_millis // 1_000

    def _check_queues(self, living: list[Any]) -> None:
        store = self.scheduler.store
        book = QuotaBook(self.tree, "abcx")
        for item in living:
            spec = store.trainings[item.training].spec
            amounts = (
                round(spec.resources.cpus * 1_000),
                spec.resources.memory_bytes,
                round(spec.resources.gpus * 1_000),
            )
            book.take(spec.queue, plus((0, 0, 0), amounts, item.share.workers))
        for queue in self.tree:
            used = book.used(queue.name)
            assert all(held <= bound for held, bound in zip(used, queue.ceiling, strict=True))


@pytest.mark.timeout(300 + SCHEDULES)
@settings(
    max_examples=SCHEDULES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=_HISTORIES, tree=_trees(), is_large=st.booleans())
def test_no_history_over_allocates_splits_a_gang_exceeds_a_quota_or_goes_round_in_circles(
    make_scheduler: Callable[..., Any],
    seeded: Callable[..., Any],
    steps: list[Any],
    tree: list[Queue],
    is_large: bool,
) -> None:
    cadence = Cadence(full_interval_s=5.0, narrow_from=1) if is_large else Cadence()
    planner = Planner(planning_policy("default"), BOUNDS, cadence)
    history = History(make_scheduler(policy=BOUNDS, planner=planner), tree, seeded, is_large=is_large)

    asyncio.run(history.run(steps))


@pytest.mark.timeout(300 + SCHEDULES)
@settings(max_examples=max(SCHEDULES // 6, 1), deadline=None)
@given(steps=_HISTORIES, tree=_trees())
def test_the_same_inputs_replay_to_the_same_events(
    make_scheduler: Callable[..., Any], seeded: Callable[..., Any], steps: list[Any], tree: list[Queue]
) -> None:
    histories = [History(make_scheduler(policy=BOUNDS), tree, seeded) for _ in range(2)]

    for history in histories:
        asyncio.run(history.run(steps))

    recorded, replayed = (history.scheduler.events for history in histories)
    assert recorded == replayed
