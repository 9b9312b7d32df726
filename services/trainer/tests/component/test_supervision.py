"""The supervision of a node: started, adopted, renewed and ended from the database and the machine alone."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.tables import outbox
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock
from mltrainer_trainer.adapters.queries import SqlTrainerQueries
from mltrainer_trainer.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_trainer.application.accept_placement import AcceptPlacement, AcceptPlacementHandler
from mltrainer_trainer.application.ports import Launch, LaunchError, Renewal, SchedulerUnavailableError
from mltrainer_trainer.application.preempt_attempt import PreemptAttempt, PreemptAttemptHandler
from mltrainer_trainer.application.prune_attempts import PruneAttemptsHandler
from mltrainer_trainer.application.renew_leases import RenewLeasesHandler
from mltrainer_trainer.application.report_attempt import ReportSuccess, ReportSuccessHandler
from mltrainer_trainer.application.sample_usage import SampleUsageHandler
from mltrainer_trainer.application.supervise_attempts import SuperviseAttemptsHandler
from mltrainer_trainer.domain.attempt import (
    Attempt,
    AttemptIdentity,
    AttemptState,
    Placement,
    ProcessExit,
    ProcessId,
    Success,
    Usage,
)
from mltrainer_trainer.wire.events import to_event
from sqlalchemy import select

NODE = "nodes/local-0"


@dataclass(slots=True)
class FakeBackend:
    """A machine in memory; its processes outlive the trainer."""

    living: dict[str, ProcessId] = field(default_factory=dict)
    exits: dict[str, ProcessExit] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    terminated: list[tuple[str, bool]] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    usage: Usage | None = None
    is_full: bool = False

    async def find(self, attempt: Attempt) -> ProcessId | None:
        return self.living.get(attempt.name)

    async def start(self, launch: Launch) -> ProcessId:
        if self.is_full:
            raise LaunchError("no process can be started: full")
        self.launches.append(launch)
        return self.living.setdefault(launch.placement.attempt, ProcessId(len(self.launches), "mark"))

    async def inspect(self, attempt: Attempt) -> ProcessExit | None:
        return None if attempt.name in self.living else self.exits.get(attempt.name, ProcessExit(None))

    async def terminate(self, attempt: Attempt, *, force: bool) -> None:
        self.terminated.append((attempt.name, force))

    async def renew_lease(self, attempt: Attempt, lease_s: float) -> None:
        self.leases[attempt.name] = lease_s

    async def measure(self, attempt: Attempt) -> Usage | None:
        return self.usage

    async def discard(self, attempt: Attempt) -> None:
        self.discarded.append(attempt.name)

    def end(self, name: str, code: int | None) -> None:
        del self.living[name]
        self.exits[name] = ProcessExit(code, 1.0)


@dataclass(slots=True)
class FakeScheduler:
    """Answers renewals; unavailable where there is no answer."""

    answer: Renewal | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def renew(self, node: str, claims: Sequence[tuple[str, int]]) -> Renewal:
        self.asked = list(claims)
        if self.answer is None:
            raise SchedulerUnavailableError(node)
        return self.answer


@dataclass(slots=True)
class Node:
    """One trainer on one database, machine and clock."""

    database: Database
    clock: ManualClock
    backend: FakeBackend = field(default_factory=FakeBackend)
    scheduler: FakeScheduler = field(default_factory=FakeScheduler)

    @property
    def unit_of_work(self) -> SqlUnitOfWorkFactory:
        transactions = EventTransactions(self.database, "trainer", OutboxSignal(), to_event, self.clock)
        return SqlUnitOfWorkFactory(transactions)

    @property
    def queries(self) -> SqlTrainerQueries:
        return SqlTrainerQueries(self.database)

    async def place(self, placement: Placement) -> None:
        await AcceptPlacementHandler(self.unit_of_work, self.clock)(AcceptPlacement("placed", placement))

    async def supervise(self) -> None:
        await SuperviseAttemptsHandler(self.unit_of_work, self.queries, self.backend, self.clock, NODE)()

    async def renew(self) -> None:
        await RenewLeasesHandler(
            self.unit_of_work, self.queries, self.scheduler, self.backend, self.clock, NODE
        )()

    async def attempt(self, placement: Placement) -> Attempt:
        found = await self.queries.attempt(placement.attempt)
        assert found is not None
        return found

    async def published(self) -> list[str]:
        async with self.database.snapshot() as connection:
            topics = (await connection.execute(select(outbox.c.topic).order_by(outbox.c.id))).scalars()
            return [topic.split(".")[2] for topic in topics]


@pytest.fixture
async def node(tmp_path: Path, manual_clock: ManualClock) -> AsyncIterator[Node]:
    url = f"sqlite:///{tmp_path}/trainer.db"
    await migrate(url, "mltrainer_trainer.adapters.migrations")
    async with open_database(url) as database:
        yield Node(database, manual_clock)


async def test_a_placement_is_started_once(node: Node, placement: Placement) -> None:
    await node.place(placement)

    await node.supervise()
    await node.supervise()

    assert (await node.attempt(placement)).state is AttemptState.EXECUTING
    assert len(node.backend.launches) == 1
    assert node.backend.launches[0].lease_s == pytest.approx(30)
    assert await node.published() == ["attempt-started"]


async def test_a_trainer_killed_between_start_and_record_adopts_the_process(
    node: Node, placement: Placement
) -> None:
    await node.place(placement)
    node.backend.living[placement.attempt] = ProcessId(99, "mark")

    await node.supervise()

    attempt = await node.attempt(placement)
    assert (attempt.state, attempt.process) == (AttemptState.EXECUTING, ProcessId(99, "mark"))
    assert node.backend.launches == []


async def test_an_exit_without_report_is_a_failure_that_may_be_retried(
    node: Node, placement: Placement
) -> None:
    await node.place(placement)
    await node.supervise()
    node.backend.end(placement.attempt, -9)

    await node.supervise()

    attempt = await node.attempt(placement)
    assert attempt.failure is not None
    assert (attempt.failure.reason, attempt.failure.retryable) == ("PROCESS_DIED", True)
    assert await node.published() == ["attempt-started", "usage-sampled", "attempt-failed"]


async def test_an_exit_after_a_report_closes_the_usage_and_ends_nothing_twice(
    node: Node, placement: Placement
) -> None:
    await node.place(placement)
    await node.supervise()
    identity = AttemptIdentity(placement.attempt, placement.allocation, placement.fencing_token)
    report = ReportSuccess(identity, Success("m", "k", b"", b""))
    for _ in range(2):
        await ReportSuccessHandler(node.unit_of_work, node.clock)(report)
    node.backend.end(placement.attempt, 0)

    await node.supervise()

    assert (await node.attempt(placement)).process_gone
    assert await node.published() == ["attempt-started", "attempt-succeeded", "usage-sampled"]


async def test_a_preempted_attempt_is_asked_to_end_and_then_made_to(node: Node, placement: Placement) -> None:
    await node.place(placement)
    await node.supervise()
    preempt = PreemptAttemptHandler(node.unit_of_work, node.clock)
    await preempt(PreemptAttempt("e2", placement.allocation, "PREEMPTED"))

    await node.supervise()
    node.clock.advance(11)
    await node.supervise()

    assert node.backend.terminated == [(placement.attempt, False), (placement.attempt, True)]


async def test_a_placement_whose_lease_has_lapsed_waits_for_a_renewal(
    node: Node, placement: Placement
) -> None:
    await node.place(placement)
    node.clock.advance(31)
    await node.supervise()
    started_before = list(node.backend.launches)
    node.scheduler.answer = Renewal(frozenset({placement.allocation}), frozenset(), 30.0)

    await node.renew()
    await node.supervise()

    assert started_before == []
    assert len(node.backend.launches) == 1


async def test_an_executing_attempt_gets_its_lease_prolonged(node: Node, placement: Placement) -> None:
    await node.place(placement)
    await node.supervise()
    node.scheduler.answer = Renewal(frozenset({placement.allocation}), frozenset(), 30.0)

    await node.renew()

    assert node.scheduler.asked == [(placement.allocation, placement.fencing_token)]
    assert node.backend.leases == {placement.attempt: pytest.approx(30.0)}


async def test_a_revoked_allocation_ends_its_attempt(node: Node, placement: Placement) -> None:
    await node.place(placement)
    await node.supervise()
    node.scheduler.answer = Renewal(frozenset(), frozenset({placement.allocation}), 30.0)

    await node.renew()

    assert (await node.attempt(placement)).state is AttemptState.CANCELLED


async def test_without_the_scheduler_leases_go_on_lapsing(node: Node, placement: Placement) -> None:
    await node.place(placement)
    await node.supervise()

    with pytest.raises(SchedulerUnavailableError):
        await node.renew()

    assert node.backend.leases == {}


async def test_a_machine_that_can_start_nothing_fails_the_attempt(node: Node, placement: Placement) -> None:
    node.backend.is_full = True
    await node.place(placement)

    await node.supervise()

    attempt = await node.attempt(placement)
    assert attempt.failure is not None
    assert (attempt.failure.reason, attempt.failure.retryable) == ("LAUNCH_FAILED", True)


async def test_usage_is_sampled_and_too_much_memory_ends_the_attempt(
    node: Node, placement: Placement
) -> None:
    await node.place(placement)
    await node.supervise()
    sample = SampleUsageHandler(node.unit_of_work, node.queries, node.backend, node.clock, NODE)
    node.backend.usage = Usage(1.0, 500, node.clock.now())
    await sample()
    node.backend.usage = Usage(2.0, 5000, node.clock.now())

    await sample()

    assert await node.published() == ["attempt-started", "usage-sampled", "usage-sampled", "attempt-failed"]


async def test_directories_of_ended_attempts_are_removed_once_after_a_while(
    node: Node, placement: Placement
) -> None:
    await node.place(placement)
    await node.supervise()
    node.backend.end(placement.attempt, 1)
    await node.supervise()
    prune = PruneAttemptsHandler(
        node.unit_of_work, node.queries, node.backend, node.clock, NODE, timedelta(hours=1)
    )

    counts = [await prune()]
    node.clock.advance(7200)
    counts += [await prune(), await prune()]

    assert counts == [0, 1, 0]
    assert node.backend.discarded == [placement.attempt]
