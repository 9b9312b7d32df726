"""Two real schedulers on one PostgreSQL and one Kafka; the one that leads is killed again and again.

`MLTRAINER_FAILOVERS=50 pytest -m integration services/scheduler/tests/integration` kills oftener.
"""

import asyncio
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from google.protobuf.message import Message
from mltrainer.feature.v1.events_pb2 import ViewRevised
from mltrainer.scheduler.v1 import events_pb2 as events
from mltrainer.trainer.v1 import events_pb2 as trainer
from mltrainer.types.v1.types_pb2 import TARGET_KIND_LOG_REALIZED_VARIANCE, VERDICT_EDGE
from mltrainer_common.database import open_database
from mltrainer_common.ids import new_id
from mltrainer_messaging.envelope import encode_event
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.topics import topic_of
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_scheduler.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.bootstrap import planning_policy
from mltrainer_scheduler.domain.training import SchedulingPolicy
from mltrainer_scheduler.wire.events import to_message

pytestmark = [pytest.mark.integration]

FAILOVERS = int(os.environ.get("MLTRAINER_FAILOVERS", "2"))
REQUESTS_PER_FAILOVER = 40
CPUS_PER_NODE = 4
NODES = ("nodes/a", "nodes/b")
PATIENCE_S = 60.0
TERMINAL = (
    events.TrainingCompleted,
    events.TrainingFailed,
    events.TrainingRejected,
    events.TrainingDeduplicated,
)
WATCHED = (events.TrainingPlaced, *TERMINAL)
SENT = (
    events.TrainingRequested,
    trainer.TrainerReleased,
    trainer.NodeReported,
    trainer.AttemptSucceeded,
    ViewRevised,
)
HELD = """
select node, sum(allocation.workers * training.cpu_millis) as cpu_millis from allocation
join training on training.name = allocation.training where allocation.end_time is null group by node
"""


def _request(number: int) -> events.TrainingRequested:
    message = events.TrainingRequested(
        request_id=f"r{number}",
        study="studies/vol5",
        symbols=["AAPL"],
        feature_views=["bars_daily"],
        owner="desk",
    )
    message.target.kind, message.target.horizon_bars = TARGET_KIND_LOG_REALIZED_VARIANCE, 5
    message.as_of.FromJsonString("2022-12-28T21:00:00Z")
    message.evaluation.first_test_time.FromJsonString("2015-01-01T00:00:00Z")
    message.search.models.append("ridge")
    message.search.seed = number
    message.budget.cpu_seconds = 60.0
    message.resources.cpus = 1.0
    return message


def _announcements() -> list[Message]:
    release = trainer.TrainerReleased(
        trainer="trainers/default", code_digest="c", environment_digest="e", revision=1
    )
    release.catalogue_entries.add(
        id="ridge", family="linear", digest="d", target_kinds=[TARGET_KIND_LOG_REALIZED_VARIANCE]
    )
    return [release, ViewRevised(feature_view="bars_daily", version=1, definition_digest="v", revision=1)]


def _node(name: str, revision: int) -> trainer.NodeReported:
    node = trainer.NodeReported(node=name, schedulable=True, revision=revision)
    node.capacity.cpus, node.capacity.memory_bytes = CPUS_PER_NODE, 8 << 30
    node.report_time.GetCurrentTime()
    return node


def _success(placed: events.TrainingPlaced) -> trainer.AttemptSucceeded:
    message = trainer.AttemptSucceeded(
        training=placed.training,
        attempt=placed.attempt,
        allocation=placed.allocation.name,
        fencing_token=placed.allocation.fencing_token,
        manifest_digest=f"manifest of {placed.training}",
        computation_key=placed.computation_key,
    )
    message.result.verdict = VERDICT_EDGE
    return message


@dataclass
class World:
    """Plays producers and trainers, and notes what schedulers say."""

    broker: KafkaBroker
    database: asyncpg.Pool
    ends: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    places: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    overfull: list[Any] = field(default_factory=list)

    async def send(self, *messages: Message) -> None:
        encoded = [
            encode_event(
                one, source="/mltrainer/test", event_id=new_id(), time=datetime.now(UTC), traceparent=None
            )
            for one in messages
        ]
        await self.broker.publisher.publish(encoded)

    async def report_nodes(self) -> None:
        revision = 0
        while True:
            revision += 1
            await self.send(*(_node(name, revision) for name in NODES))
            await asyncio.sleep(0.5)

    async def work(self, consumer: AIOKafkaConsumer) -> None:
        """Every attempt succeeds as soon as it is placed."""
        types = {topic_of(one).name: one for one in WATCHED}
        async for record in consumer:
            event_id = dict(record.headers)["ce_id"].decode()
            message: Any = types[record.topic].FromString(record.value)
            if isinstance(message, events.TrainingPlaced):
                self.places[message.training, message.allocation.fencing_token].add(message.allocation.name)
                await self.send(_success(message))
            else:
                self.ends[message.request_id].add(f"{type(message).__name__} {event_id}")

    async def watch(self) -> None:
        """Notes nodes that hold more than they have."""
        while True:
            held = await self.database.fetch(HELD)
            self.overfull += [row for row in held if row["cpu_millis"] > CPUS_PER_NODE * 1_000]
            await asyncio.sleep(0.02)

    async def leader(self) -> str | None:
        """Names the process that leads now, if the lease of one has not ended."""
        row = await self.database.fetchrow("select holder from leader where expire_time > now()")
        return row["holder"] if row else None

    async def ended(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.ends) < count:  # noqa: ASYNC110 - what ends is counted by several tasks
                await asyncio.sleep(0.05)


class Replicas:
    """The processes of the service, by the name under which they lead."""

    def __init__(self, directory: Path, url: str, kafka: str) -> None:
        self._directory = directory
        self._environment = os.environ | {
            "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "MLTRAINER_SCHEDULER_DATABASE_URL": url,
            "MLTRAINER_SCHEDULER_LEADER_LEASE_S": "1",
            "MLTRAINER_SCHEDULER_AUDIT_FRACTION": "0",
            "MLTRAINER_TRACE_RATIO": "0",
        }
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, instance: str) -> None:
        directory = self._directory / instance
        directory.mkdir(exist_ok=True)
        with (directory / "log").open("ab") as log:
            self._processes[f"scheduler-{instance}"] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "mltrainer_scheduler",
                env=self._environment
                | {"MLTRAINER_DATA_DIRECTORY": str(directory), "MLTRAINER_INSTANCE": instance},
                stdout=log,
                stderr=log,
            )

    async def kill(self, holder: str) -> None:
        """Kills a process without warning, and starts it again."""
        process = self._processes[holder]
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        await self.start(holder.rpartition("-")[2])

    async def end(self) -> None:
        for process in self._processes.values():
            process.kill()
            await process.wait()


@asynccontextmanager
async def _world(url: str, kafka: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(KafkaBroker(kafka, "world"))
        await broker.ensure_topics([topic_of(one) for one in (*WATCHED, *SENT)])
        consumer = AIOKafkaConsumer(
            *(topic_of(one).name for one in WATCHED),
            bootstrap_servers=kafka,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        pool = await stack.enter_async_context(asyncpg.create_pool(url, min_size=1, max_size=2))
        world = World(broker, pool)
        tasks = [asyncio.create_task(one) for one in (world.report_nodes(), world.work(consumer))]
        stack.callback(lambda: [task.cancel() for task in tasks])
        yield world


async def _leading(world: World, *, other_than: str | None = None) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                holder = await world.leader()
            except asyncpg.UndefinedTableError:
                holder = None
            if holder is not None and holder != other_than:
                return holder
            await asyncio.sleep(0.05)


async def _seen_by_fresh_planner(url: str, planner: Planner) -> dict[str, Any]:
    async with open_database(url) as database:
        transactions = EventTransactions(database, "scheduler", OutboxSignal(), encode=to_message)
        async with SqlUnitOfWorkFactory(database, transactions).view() as view:
            await planner.follow(view.planning, datetime.now(UTC))
    state = planner.state
    return {
        "facts": {name: repr(fact) for name, fact in state.facts.items()},
        "queues": state.queues,
        "past": state.past,
        "durations": state.history.wall_s.tolist(),
        "revision": state.revision,
    }


def _planner() -> Planner:
    return Planner(planning_policy("default"), SchedulingPolicy())


@pytest.mark.timeout(120 + 40 * FAILOVERS)
async def test_whoever_leads_may_be_killed_at_any_time(postgres_url: str, kafka: str, tmp_path: Path) -> None:
    replicas, follower = Replicas(tmp_path, postgres_url, kafka), _planner()
    async with _world(postgres_url, kafka) as world:
        try:
            for instance in ("0", "1"):
                await replicas.start(instance)
            holder = await _leading(world)
            watch = asyncio.create_task(world.watch())
            await world.send(*_announcements())
            leaders = [holder]
            for failover in range(FAILOVERS):
                first = failover * REQUESTS_PER_FAILOVER
                await world.send(*(_request(first + one) for one in range(REQUESTS_PER_FAILOVER)))
                await world.ended(first + REQUESTS_PER_FAILOVER // 4)
                await _seen_by_fresh_planner(postgres_url, follower)
                await replicas.kill(holder)
                holder = await _leading(world, other_than=holder)
                leaders.append(holder)
            await world.ended(FAILOVERS * REQUESTS_PER_FAILOVER)
            watch.cancel()
            states = Counter(
                {
                    row[0]: row[1]
                    for row in await world.database.fetch("select state, count(*) from training group by 1")
                }
            )
            followed = await _seen_by_fresh_planner(postgres_url, follower)
            reread = await _seen_by_fresh_planner(postgres_url, _planner())
        finally:
            await replicas.end()

    assert world.overfull == []
    assert states == {"COMPLETED": FAILOVERS * REQUESTS_PER_FAILOVER}
    assert {request: len(ends) for request, ends in world.ends.items() if len(ends) != 1} == {}
    assert {token: names for token, names in world.places.items() if len(names) != 1} == {}
    assert len(set(leaders)) == len({"scheduler-0", "scheduler-1"})
    assert followed == reread
