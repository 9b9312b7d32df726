"""Sends equal requests from several processes at once to one scheduler database, and counts executions.

Every process takes requests in, and is ready to lead, place and execute. Whoever places a training appends a
line to a file and executes: it waits until the file `go` exists, then reports the result.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from mltrainer_common.database import Database, DatabaseConflictError, open_database, retry_conflicts
from mltrainer_common.ids import new_id
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_scheduler.adapters.tables import training
from mltrainer_scheduler.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_scheduler.application.accept_trainings import AcceptTraining, AcceptTrainingsHandler
from mltrainer_scheduler.application.conclude_attempt import AttemptSuccess, ConcludeAttemptHandler
from mltrainer_scheduler.application.lapse_leases import LapseLeasesHandler
from mltrainer_scheduler.application.lead import LeadHandler
from mltrainer_scheduler.application.place_trainings import PlaceTrainingsHandler
from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.renew_allocations import Claim, RenewAllocationsHandler
from mltrainer_scheduler.application.replicate import ReplicateHandler
from mltrainer_scheduler.application.resolve_training import KeyResolver
from mltrainer_scheduler.bootstrap import planning_policy
from mltrainer_scheduler.domain.catalogue import CatalogueEntry, TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.cluster import NodeReport, offered
from mltrainer_scheduler.domain.keys import BarCalendar
from mltrainer_scheduler.domain.specification import (
    Budget,
    Evaluation,
    Search,
    Target,
    TargetKind,
    TrainingSpec,
)
from mltrainer_scheduler.domain.training import SchedulingPolicy, Training
from mltrainer_scheduler.wire.events import to_message
from sqlalchemy import func, select

T = TypeVar("T")
_MIGRATIONS = "mltrainer_scheduler.adapters.migrations"
_NODE = "nodes/a"
_LEASE_S = 4.0
_LEADER_LEASE_S = 2.0
_POLL_S = 0.05
_PATIENCE_S = 240.0
POLICY = SchedulingPolicy(lease_s=_LEASE_S, node_silence_s=30.0)


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Crowd:
    """What came of the requests of all processes.

    Attributes:
        seconds: From the first request to the last end.
        executions: Attempts that were begun.
    """

    requests: int
    processes: int
    killed: bool
    executions: int
    completed: int
    deduplicated: int
    seconds: float


def specification() -> TrainingSpec:
    """Returns what all ask for."""
    return TrainingSpec(
        study="studies/crowd",
        target=Target(TargetKind.LOG_REALIZED_VARIANCE, 5),
        symbols=("AAPL", "MSFT"),
        feature_views=("bars",),
        as_of=datetime(2022, 12, 28, 21, tzinfo=UTC),
        evaluation=Evaluation(datetime(2015, 1, 1, tzinfo=UTC)),
        search=Search(("ridge",), 1, 1),
        budget=Budget(60.0),
    )


class _Member:
    """One process of the crowd."""

    def __init__(self, database: Database, folder: Path, number: int) -> None:
        clock, holder = _Clock(), f"scheduler-{number}"
        transactions = EventTransactions(database, "scheduler", OutboxSignal(), encode=to_message)
        self.unit_of_work = SqlUnitOfWorkFactory(database, transactions)
        self._folder = folder
        self._database = database
        planner = Planner(planning_policy("default"), POLICY)
        resolve = KeyResolver(BarCalendar(), POLICY)
        self.accept = AcceptTrainingsHandler(self.unit_of_work, clock, clock, new_id, resolve)
        self.place = PlaceTrainingsHandler(self.unit_of_work, clock, new_id, resolve, POLICY, planner, holder)
        self.lead = LeadHandler(self.unit_of_work, clock, holder, _LEADER_LEASE_S)
        self.lapse = LapseLeasesHandler(self.unit_of_work, clock, POLICY)
        self.renew = RenewAllocationsHandler(self.unit_of_work, clock, POLICY)
        self.conclude = ConcludeAttemptHandler(self.unit_of_work, clock, POLICY)
        self.replicate = ReplicateHandler(self.unit_of_work, clock)

    async def announce(self) -> None:
        """Tells what a trainer, a node and a feature view would."""
        entry = CatalogueEntry("ridge", "linear", frozenset(TargetKind), "d")
        await self.replicate.release(TrainerRelease("trainers/default", "c", "e", (entry,), 1))
        await self.replicate.views([ViewVersion("bars", 1, "d", 0, 1)])

    async def heartbeat(self) -> None:
        """Tells that the node lives."""
        now = datetime.now(UTC)
        revision = int(now.timestamp() * 1_000)
        total = offered(64.0, 512 << 30, 0.0)
        node = NodeReport(
            _NODE, total, "", schedulable=True, spot=False, zone="", revision=revision, seen_time=now
        )
        await self.replicate.nodes([node])

    async def ask(self, name: str) -> None:
        """Sends one request, as its own transaction."""
        command = AcceptTraining(f"event-{name}", f"request-{name}", specification())
        await _patiently(lambda: self.accept([command]))

    async def work(self, asked: asyncio.Event) -> None:
        """Leads, places and executes until everything was asked and nothing is open."""
        executing: set[asyncio.Task[None]] = set()
        async with asyncio.timeout(_PATIENCE_S):
            while not asked.is_set() or await _count_of(self._database, "QUEUED", "PLACED", "JOINED"):
                if await _patiently(self.lead):
                    await _patiently(self.heartbeat)
                    await _patiently(self.lapse)
                    placed = await _patiently(self.place)
                    executing |= {asyncio.create_task(self._execute(one)) for one in placed.placed}
                await asyncio.sleep(_POLL_S)
            await asyncio.gather(*executing)

    async def _execute(self, placed: Training) -> None:
        async with self.unit_of_work.view() as view:
            (allocation,) = await view.cluster.held_by(placed.name)
        with (self._folder / "executions").open("a") as file:
            file.write(f"{os.getpid()} {placed.name} {placed.fencing_token}\n")
        claims = [Claim(allocation.name, placed.fencing_token)]
        while not (self._folder / "go").exists():
            await _patiently(lambda: self.renew(_NODE, claims))
            await asyncio.sleep(_LEASE_S / 4)
        report = AttemptSuccess(
            f"end-{placed.name}-{placed.fencing_token}",
            placed.name,
            placed.fencing_token,
            "manifest",
            placed.computation_key,
            "EDGE",
        )
        await _patiently(lambda: self.conclude(report))


async def _patiently(action: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await retry_conflicts(action)
        except DatabaseConflictError:
            await asyncio.sleep(_POLL_S)


async def states(database: Database) -> dict[str, int]:
    """Counts trainings by their state."""
    query = select(training.c.state, func.count().label("count")).group_by(training.c.state)
    async with database.snapshot() as connection:
        return {row.state: row.count for row in await connection.execute(query)}


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - other processes raise no event here
        await asyncio.sleep(_POLL_S)


async def _count_of(database: Database, *wanted: str) -> int:
    counts = await states(database)
    return sum(count for state, count in counts.items() if not wanted or state in wanted)


async def _until_counted(database: Database, count: int, *wanted: str) -> None:
    while await _count_of(database, *wanted) < count:  # noqa: ASYNC110 - other processes raise no event here
        await asyncio.sleep(_POLL_S)


async def _member(url: str, folder: Path, number: int, requests: int) -> None:
    async with open_database(url) as database:
        member = _Member(database, folder, number)
        (folder / f"ready-{number}").touch()
        await _until((folder / "start").exists)
        asked = asyncio.Event()
        work = asyncio.create_task(member.work(asked))
        async with asyncio.TaskGroup() as group:
            for index in range(requests):
                group.create_task(member.ask(f"{number}-{index}"))
        asked.set()
        await work


async def run_crowd(folder: Path, requests: int, processes: int, *, kill: bool, url: str = "") -> Crowd:
    """Runs the crowd once; the first that executes is killed where asked, before it has a result."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    url = url or f"sqlite:///{folder}/scheduler.db"
    await migrate(url, _MIGRATIONS)
    async with open_database(url) as database:
        first = _Member(database, folder, 999)
        await first.announce()
        await first.heartbeat()
        share = requests // processes
        command = [sys.executable, __file__, url, str(folder)]
        members = [
            subprocess.Popen([*command, str(number), str(share)])  # noqa: ASYNC220 - returns at once
            for number in range(processes)
        ]
        try:
            return await _conduct(database, folder, members, share * processes, kill=kill)
        finally:
            for member in members:
                member.kill()
                member.wait()


async def _conduct(
    database: Database, folder: Path, members: list[subprocess.Popen[bytes]], requests: int, *, kill: bool
) -> Crowd:
    async with asyncio.timeout(_PATIENCE_S):
        await _until(lambda: len(list(folder.glob("ready-*"))) == len(members))
        begin_s = time.monotonic()
        (folder / "start").touch()
        executions = folder / "executions"
        await _until(lambda: len(_lines(executions)) > 0)
        await _until_counted(database, requests)
        if kill:
            os.kill(int(_lines(executions)[0].split()[0]), signal.SIGKILL)
            await _until(lambda: len(_lines(executions)) > 1)
        (folder / "go").touch()
        await _until_counted(database, requests, "COMPLETED", "DEDUPLICATED")
    return Crowd(
        requests,
        len(members),
        kill,
        len(_lines(executions)),
        await _count_of(database, "COMPLETED"),
        await _count_of(database, "DEDUPLICATED"),
        time.monotonic() - begin_s,
    )


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    asyncio.run(_member(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
