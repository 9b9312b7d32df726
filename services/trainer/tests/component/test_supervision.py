"""The supervision of a node: started, adopted, renewed and ended from the database and the machine alone."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
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
from mltrainer_trainer.application.lease_book import LeaseBook
from mltrainer_trainer.application.ports import (
    BackendUnavailableError,
    Launch,
    LaunchError,
    Renewal,
    SchedulerUnavailableError,
    StaleLaunchError,
)
from mltrainer_trainer.application.preempt_attempt import PreemptAttempt, PreemptAttemptHandler
from mltrainer_trainer.application.prune_attempts import PruneAttemptsHandler
from mltrainer_trainer.application.renew_leases import RenewLeasesHandler
from mltrainer_trainer.application.report_attempt import (
    ReportProgress,
    ReportProgressHandler,
    ReportSuccess,
    ReportSuccessHandler,
)
from mltrainer_trainer.application.sample_usage import SampleUsageHandler
from mltrainer_trainer.application.supervise_attempts import SuperviseAttemptsHandler
from mltrainer_trainer.domain.attempt import (
    Attempt,
    AttemptIdentity,
    AttemptState,
    Placement,
    Success,
    Usage,
)
from mltrainer_trainer.domain.execution import (
    Absent,
    Ended,
    EndReason,
    Executing,
    Observation,
    Starting,
)
from mltrainer_trainer.wire.events import to_event
from sqlalchemy import select


@dataclass(slots=True)
class FakeBackend:
    """A machine in memory; what it executes outlives the trainer."""

    seen: dict[str, Observation] = field(default_factory=dict)
    stopped: list[tuple[str, bool]] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    usage: Usage | None = None
    refusal: Exception | None = None
    unavailable: set[str] = field(default_factory=set)
    is_slow: bool = False

    async def start(self, launch: Launch) -> Observation:
        if self.refusal is not None:
            raise self.refusal
        self.launches.append(launch)
        name = f"{len(self.launches)}.mark"
        return self.seen.setdefault(
            launch.placement.attempt, Starting(name) if self.is_slow else Executing(name)
        )

    async def observe(self, attempt: Attempt) -> Observation:
        if attempt.name in self.unavailable:
            raise BackendUnavailableError(attempt.name)
        return self.seen.get(attempt.name, Absent())

    async def stop(self, attempt: Attempt, *, force: bool) -> None:
        self.stopped.append((attempt.name, force))

    async def measure(self, attempt: Attempt) -> Usage | None:
        return self.usage

    async def read_output(self, attempt: Attempt, limit_bytes: int) -> bytes:
        return b"Traceback\nKeyError: 'close'\n"

    async def discard(self, attempt: Attempt) -> None:
        self.discarded.append(attempt.name)

    def end(self, name: str, code: int | None) -> None:
        self.seen[name] = Ended(EndReason.FAILED if code else EndReason.SUCCEEDED, code, 1.0)


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
    leases: LeaseBook = field(default_factory=lambda: LeaseBook(lambda: 100.0))

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
        await SuperviseAttemptsHandler(self.unit_of_work, self.queries, self.backend, self.clock)()

    async def renew(self) -> None:
        await RenewLeasesHandler(self.unit_of_work, self.queries, self.scheduler, self.leases, self.clock)()

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
    node.backend.seen[placement.attempt] = Executing("99.mark")

    await node.supervise()

    attempt = await node.attempt(placement)
    assert (attempt.state, attempt.execution_id) == (AttemptState.EXECUTING, "99.mark")
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
    assert "KeyError: 'close'" in attempt.failure.message
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

    assert (await node.attempt(placement)).execution_gone
    assert await node.published() == ["attempt-started", "attempt-succeeded", "usage-sampled"]


async def test_a_preempted_attempt_is_asked_to_end_and_then_made_to(node: Node, placement: Placement) -> None:
    await node.place(placement)
    await node.supervise()
    preempt = PreemptAttemptHandler(node.unit_of_work, node.clock)
    await preempt(PreemptAttempt("e2", placement.allocation, "PREEMPTED"))

    await node.supervise()
    node.clock.advance(11)
    await node.supervise()

    assert node.backend.stopped == [(placement.attempt, False), (placement.attempt, True)]


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
    assert node.leases.left_s(placement.allocation) == pytest.approx(30.0)


async def test_an_attempt_hears_with_each_report_how_long_it_may_go_on(
    node: Node, placement: Placement
) -> None:
    await node.place(placement)
    await node.supervise()
    report = ReportProgressHandler(node.unit_of_work, node.leases, node.clock)
    identity = AttemptIdentity(placement.attempt, placement.allocation, placement.fencing_token)
    before = await report(ReportProgress(identity, 0.1, "dataset"))
    node.scheduler.answer = Renewal(frozenset({placement.allocation}), frozenset(), 30.0)

    await node.renew()
    after = await report(ReportProgress(identity, 0.2, "trials"))

    assert (before.proceed, before.lease_s) == (True, 0.0)
    assert (after.proceed, after.lease_s) == (True, pytest.approx(30.0))


async def test_an_attempt_that_nobody_can_measure_is_believed_what_it_uses(
    node: Node, placement: Placement
) -> None:
    await node.place(placement)
    await node.supervise()
    identity = AttemptIdentity(placement.attempt, placement.allocation, placement.fencing_token)
    report = ReportProgress(identity, 0.1, "trials", cpu_seconds=2.5, memory_bytes=700)

    await ReportProgressHandler(node.unit_of_work, node.leases, node.clock, takes_usage=True)(report)

    usage = (await node.attempt(placement)).usage
    assert usage == Usage(2.5, 700, node.clock.now())
    assert await node.published() == ["attempt-started", "attempt-progressed", "usage-sampled"]


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

    assert node.leases.left_s(placement.allocation) == 0


async def test_a_machine_that_can_start_nothing_fails_the_attempt(node: Node, placement: Placement) -> None:
    node.backend.refusal = LaunchError("no process can be started: full")
    await node.place(placement)

    await node.supervise()

    attempt = await node.attempt(placement)
    assert attempt.failure is not None
    assert (attempt.failure.reason, attempt.failure.retryable) == ("LAUNCH_FAILED", True)


async def test_usage_is_sampled(node: Node, placement: Placement) -> None:
    await node.place(placement)
    await node.supervise()
    node.backend.usage = Usage(1.0, 500, node.clock.now())

    await SampleUsageHandler(node.unit_of_work, node.queries, node.backend)()

    assert await node.published() == ["attempt-started", "usage-sampled"]


async def test_an_attempt_whose_workers_do_not_execute_yet_is_neither_started_again_nor_told_of(
    node: Node, placement: Placement
) -> None:
    node.backend.is_slow = True
    await node.place(placement)

    await node.supervise()
    await node.supervise()
    before = await node.published()
    node.backend.seen[placement.attempt] = Executing("1.mark")
    await node.supervise()

    assert len(node.backend.launches) == 1
    assert (before, await node.published()) == ([], ["attempt-started"])


async def test_an_execution_that_vanishes_before_it_computes_fails_the_attempt(
    node: Node, placement: Placement
) -> None:
    node.backend.is_slow = True
    await node.place(placement)
    await node.supervise()
    node.backend.seen.clear()

    await node.supervise()

    assert (await node.attempt(placement)).state is AttemptState.FAILED
    assert len(node.backend.launches) == 1


async def test_a_stale_launch_fails_the_attempt_and_may_be_repeated_under_a_new_token(
    node: Node, placement: Placement
) -> None:
    node.backend.refusal = StaleLaunchError("a later attempt was started before")
    await node.place(placement)

    await node.supervise()

    attempt = await node.attempt(placement)
    assert attempt.failure is not None
    assert (attempt.failure.reason, attempt.failure.retryable) == ("SUPERSEDED", True)


async def test_a_backend_that_cannot_be_asked_about_one_attempt_holds_up_no_other(
    node: Node, placement: Placement
) -> None:
    other = replace(placement, training="trainings/t2", allocation="allocations/a2")
    for number, each in enumerate((placement, other)):
        await AcceptPlacementHandler(node.unit_of_work, node.clock)(AcceptPlacement(f"e{number}", each))
    node.backend.unavailable.add(placement.attempt)

    with pytest.raises(BackendUnavailableError):
        await node.supervise()

    states = [(await node.attempt(each)).state for each in (placement, other)]
    assert states == [AttemptState.PENDING, AttemptState.EXECUTING]


async def test_a_cancelled_attempt_that_never_computed_is_stopped(node: Node, placement: Placement) -> None:
    node.backend.is_slow = True
    await node.place(placement)
    await node.supervise()
    await PreemptAttemptHandler(node.unit_of_work, node.clock)(
        PreemptAttempt("e2", placement.allocation, "CANCELLED")
    )
    node.backend.seen[placement.attempt] = Executing("1.mark")

    await node.supervise()

    assert node.backend.stopped == [(placement.attempt, False)]


async def test_what_ended_attempts_left_is_removed_once_after_a_while(
    node: Node, placement: Placement
) -> None:
    await node.place(placement)
    await node.supervise()
    node.backend.end(placement.attempt, 1)
    await node.supervise()
    prune = PruneAttemptsHandler(
        node.unit_of_work, node.queries, node.backend, node.clock, timedelta(hours=1)
    )

    counts = [await prune()]
    node.clock.advance(7200)
    counts += [await prune(), await prune()]

    assert counts == [0, 1, 0]
    assert node.backend.discarded == [placement.attempt]
