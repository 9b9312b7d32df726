"""Measures the live scheduler: plans, events, durable and published placements, explanations.

    python benchmarks/scheduler_live/bench.py --queued 10000 --nodes 1024 --output result.json

See README.md beside this file for what each row means.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import workload
from mltrainer_common.database import open_database
from mltrainer_common.ids import new_id
from mltrainer_common.migrations import migrate
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_scheduler.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_scheduler.application.accept_trainings import AcceptTraining, AcceptTrainingsHandler
from mltrainer_scheduler.application.conclude_attempt import AttemptSuccess, ConcludeAttemptHandler
from mltrainer_scheduler.application.explain_training import ExplainTrainingHandler
from mltrainer_scheduler.application.lead import LeadHandler
from mltrainer_scheduler.application.place_trainings import PlaceTrainingsHandler
from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.resolve_training import KeyResolver
from mltrainer_scheduler.bootstrap import planning_policy
from mltrainer_scheduler.domain.keys import BarCalendar
from mltrainer_scheduler.domain.training import SchedulingPolicy
from mltrainer_scheduler.wire.events import PUBLISHED, to_message
from mltrainer_testkit.kafka import kafka_broker

HOLDER = "scheduler-0"
# Those of every service (mltrainer_common.service).
GARBAGE_THRESHOLDS = (20_000, 10, 10)
_MS = 1_000.0


@dataclass(frozen=True, slots=True)
class Row:
    """What one thing took: wall and CPU time of this process, in milliseconds."""

    name: str
    count: int
    p50_ms: float
    p99_ms: float
    cpu_p50_ms: float


class Clock:
    """Stands still unless it is moved, so that the cadence of plans does not depend on the machine."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        return self.time


class Scheduler:
    """The handlers of the service on one database."""

    def __init__(self, unit_of_work: SqlUnitOfWorkFactory, policy: str) -> None:
        self.unit_of_work = unit_of_work
        self.clock = Clock()
        self.bounds = SchedulingPolicy(lease_s=86_400.0, node_silence_s=86_400.0)
        self.planner = Planner(planning_policy(policy), self.bounds)
        resolve = KeyResolver(BarCalendar(), self.bounds)
        self.place = PlaceTrainingsHandler(
            unit_of_work, self.clock, new_id, resolve, self.bounds, self.planner, HOLDER
        )
        self.accept = AcceptTrainingsHandler(unit_of_work, self.clock, self.clock, new_id, resolve)
        self.conclude = ConcludeAttemptHandler(unit_of_work, self.clock, self.bounds)
        self.explain = ExplainTrainingHandler(unit_of_work, self.clock, self.planner)
        self.lead = LeadHandler(unit_of_work, self.clock, HOLDER, 3_600.0)


async def measured(name: str, times: int, action: Callable[[], Awaitable[Any]]) -> Row:
    """Repeats an action."""
    wall, cpu = [], []
    for _ in range(times):
        begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        await action()
        wall.append((time.perf_counter() - begin_s) * _MS)
        cpu.append((time.process_time() - begin_cpu_s) * _MS)
    return Row(name, times, statistics.median(wall), _p99(wall), statistics.median(cpu))


def _p99(values: list[float]) -> float:
    return sorted(values)[min(int(0.99 * len(values)), len(values) - 1)]


async def measure_plans(scheduler: Scheduler, rounds: int) -> list[Row]:
    """Plans for everything on an empty cluster, from what this process follows."""

    async def reread() -> None:
        fresh = Planner(planning_policy("default"), scheduler.bounds)
        async with scheduler.unit_of_work.view() as view:
            await fresh.follow(view.planning, scheduler.clock.now())

    async with scheduler.unit_of_work.view() as view:
        await scheduler.planner.follow(view.planning, scheduler.clock.now())
    return [
        await measured("full re-plan, empty cluster", rounds, lambda: replan(scheduler)),
        await measured("reading everything after a restart", 3, reread),
    ]


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast one re-plan became durable and was published."""

    placements: int
    events: int
    planned_and_committed_s: float
    published_s: float
    placements_per_s: float
    cpu_us_per_placement: float


async def measure_throughput(scheduler: Scheduler, relay: OutboxRelay) -> Throughput:
    """Places as much as fits in one transaction, and publishes it."""
    scheduler.clock.time += timedelta(seconds=1.0)
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    done = await scheduler.place()
    committed_s = time.perf_counter() - begin_s
    events = 0
    while published := await relay.relay_once():
        events += published
    seconds = time.perf_counter() - begin_s
    placed = len(done.placed)
    cpu_s = time.process_time() - begin_cpu_s
    return Throughput(placed, events, committed_s, seconds, placed / seconds, 1e6 * cpu_s / max(placed, 1))


async def measure_events(scheduler: Scheduler, rounds: int) -> list[Row]:
    """Ends one training at a time on a full cluster; each makes room for others."""
    async with scheduler.unit_of_work.view() as view:
        held = await view.cluster.held(rounds)
    reports = iter(held)
    numbers = count()

    async def conclude() -> None:
        item = next(reports)
        report = AttemptSuccess(
            f"end-{next(numbers)}",
            item.training.name,
            item.allocation.fencing_token,
            "manifest",
            item.training.computation_key,
            "EDGE",
        )
        await scheduler.conclude(report)

    begin = await measured("an attempt ends: its own transaction", 1, conclude)
    wall, cpu, placed = [], [], 0
    for _ in range(len(held) - 1):
        await conclude()
        scheduler.clock.time += timedelta(milliseconds=5)
        begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        placed += len((await scheduler.place()).placed)
        wall.append((time.perf_counter() - begin_s) * _MS)
        cpu.append((time.process_time() - begin_cpu_s) * _MS)
    return [
        begin,
        Row(
            f"an attempt ended: read, plan, commit ({placed} placed)",
            len(wall),
            statistics.median(wall),
            _p99(wall),
            statistics.median(cpu),
        ),
        await measured("full plan, full cluster", 30, lambda: replan(scheduler)),
    ]


async def replan(scheduler: Scheduler) -> None:
    """Plans for everything a second later."""
    scheduler.clock.time += timedelta(seconds=1.0)
    await scheduler.planner.plan(scheduler.clock.now())


async def measure_explanations(scheduler: Scheduler, rounds: int) -> list[Row]:
    """Asks why trainings wait, in the middle of the queue and at its end."""
    names = sorted(name for name, fact in scheduler.planner.state.facts.items() if fact.is_queued)
    step = max(len(names) // rounds, 1)
    asked = iter((names[::step] * 2)[:rounds])

    async def explain() -> None:
        await scheduler.explain(next(asked))

    return [await measured("ExplainTraining", min(rounds, 2 * len(names[::step])), explain)]


async def measure_acceptance(scheduler: Scheduler, rounds: int) -> list[Row]:
    """Takes requests in, a hundred at a time as they come from the broker."""
    numbers = count()

    async def accept() -> None:
        batch = [
            AcceptTraining(f"a{number}", f"a{number}", workload.specification(number))
            for number in (next(numbers) for _ in range(100))
        ]
        await scheduler.accept(batch)

    return [await measured("100 requests are accepted", rounds, accept)]


async def run(arguments: argparse.Namespace, directory: Path, bootstrap_servers: str) -> dict[str, Any]:
    """Measures everything once."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    url = arguments.database or f"sqlite:///{directory}/scheduler.db"
    await migrate(url, "mltrainer_scheduler.adapters.migrations")
    signal = OutboxSignal()
    async with open_database(url) as database, KafkaBroker(bootstrap_servers, "bench") as broker:
        transactions = EventTransactions(database, "scheduler", signal, encode=to_message)
        scheduler = Scheduler(SqlUnitOfWorkFactory(database, transactions), arguments.policy)
        await workload.fill(database, arguments.queued, arguments.nodes, scheduler.clock.now())
        await scheduler.lead()
        relay = OutboxRelay(database, broker, signal, PUBLISHED, service="scheduler")
        await broker.ensure_topics(workload.topics(PUBLISHED))
        rows = await measure_plans(scheduler, arguments.rounds)
        throughput = await measure_throughput(scheduler, relay)
        await workload.add_queued(database, arguments.queued, scheduler.clock.now())
        scheduler.clock.time += timedelta(seconds=1.0)
        await scheduler.place()
        rows += await measure_events(scheduler, arguments.events)
        rows += await measure_explanations(scheduler, arguments.explanations)
        rows += await measure_acceptance(scheduler, 20)
    return {
        "queued": arguments.queued,
        "nodes": arguments.nodes,
        "policy": arguments.policy,
        "load_average": os.getloadavg()[0],
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
        "rows": [asdict(row) for row in rows],
        "throughput": asdict(throughput),
    }


def report(result: dict[str, Any]) -> None:
    """Prints what was measured."""
    size = f"{result['queued']} queued, {result['nodes']} nodes x 8 GPUs"
    state = f"load {result['load_average']:.1f}, peak memory {result['peak_memory_mib']:.0f} MiB"
    print(f"{size}, policy {result['policy']}, {state}")
    print(f"{'what':44} {'n':>5} {'p50 ms':>9} {'p99 ms':>9} {'CPU ms':>9}")
    for row in result["rows"]:
        times = f"{row['p50_ms']:9.2f} {row['p99_ms']:9.2f} {row['cpu_p50_ms']:9.2f}"
        print(f"{row['name']:44} {row['count']:5} {times}")
    done = result["throughput"]
    print(
        f"{done['placements']} placements ({done['events']} events) planned and committed in "
        f"{done['planned_and_committed_s']:.2f} s, published after {done['published_s']:.2f} s: "
        f"{done['placements_per_s']:.0f} placements/s, {done['cpu_us_per_placement']:.0f} µs CPU each"
    )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=1_024)
    parser.add_argument("--policy", default="default")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--explanations", type=int, default=300)
    parser.add_argument("--database", default="", help="a PostgreSQL URL; a SQLite file where empty")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        with kafka_broker(directory / "kafka") as bootstrap_servers:
            result = asyncio.run(run(arguments, directory, bootstrap_servers))
    report(result)
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
