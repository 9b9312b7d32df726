"""The database keeps what the trainer is told, on every product."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock
from mltrainer_trainer.adapters.queries import SqlTrainerQueries
from mltrainer_trainer.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_trainer.application.accept_placement import AcceptPlacement, AcceptPlacementHandler
from mltrainer_trainer.application.ports import PageRequest
from mltrainer_trainer.application.preempt_attempt import PreemptAttempt, PreemptAttemptHandler
from mltrainer_trainer.application.record_trials import RecordTrials, RecordTrialsHandler
from mltrainer_trainer.domain.attempt import (
    Attempt,
    AttemptIdentity,
    AttemptState,
    NodeShare,
    Placement,
    Success,
    Usage,
    advance,
    sample,
    start,
    succeed,
)
from mltrainer_trainer.domain.checkpoints import SearchProgress
from mltrainer_trainer.domain.errors import StudyTargetDiffersError
from mltrainer_trainer.domain.ledger import RecordedTrial, StudyTarget
from mltrainer_trainer.wire.events import to_event

VOLATILITY = StudyTarget(1, 5)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    await migrate(database_url, "mltrainer_trainer.adapters.migrations")
    async with open_database(database_url) as database:
        yield database


@pytest.fixture
def unit_of_work(database: Database, manual_clock: ManualClock) -> SqlUnitOfWorkFactory:
    transactions = EventTransactions(database, "trainer", OutboxSignal(), to_event, manual_clock)
    return SqlUnitOfWorkFactory(transactions)


async def test_an_attempt_is_read_as_it_was_stored(
    unit_of_work: SqlUnitOfWorkFactory, manual_clock: ManualClock, placement: Placement
) -> None:
    now = manual_clock.now()
    shares = (NodeShare("nodes/a", 2), NodeShare("nodes/b", 1))
    pending = Attempt(replace(placement, shares=shares), accept_time=now)
    executing = start(pending, "7.mark", now).attempt
    used = sample(executing, Usage(1.5, 10, now)).attempt
    searched = advance(used, 0.5, "trials", now, SearchProgress(3, 9, 0.25)).attempt
    ended = replace(
        succeed(searched, Success("m", "k", b"r", b"l"), now).attempt,
        checkpoint_time=now - timedelta(seconds=3),
    )
    async with unit_of_work() as uow:
        await uow.attempts.add(pending)
        await uow.attempts.save(ended)
        await uow.commit()

    async with unit_of_work() as uow:
        stored = await uow.attempts.get(pending.name)
        by_allocation = await uow.attempts.of_allocation("allocations/a1")

    assert stored == by_allocation == ended


async def test_what_is_not_committed_is_not_kept(
    unit_of_work: SqlUnitOfWorkFactory, manual_clock: ManualClock, placement: Placement
) -> None:
    async with unit_of_work() as uow:
        await uow.attempts.add(Attempt(placement, accept_time=manual_clock.now()))

    async with unit_of_work() as uow:
        assert await uow.attempts.get(placement.attempt) is None


async def test_a_placement_delivered_twice_is_accepted_once(
    unit_of_work: SqlUnitOfWorkFactory, manual_clock: ManualClock, placement: Placement
) -> None:
    accept = AcceptPlacementHandler(unit_of_work, manual_clock)

    answers = [await accept(AcceptPlacement(event_id, placement)) for event_id in ("e1", "e1", "e2")]

    assert answers == [True, False, False]


async def test_a_preemption_that_overtakes_its_placement_prevents_the_attempt(
    unit_of_work: SqlUnitOfWorkFactory, manual_clock: ManualClock, placement: Placement
) -> None:
    await PreemptAttemptHandler(unit_of_work, manual_clock)(
        PreemptAttempt("e1", "allocations/a1", "CANCELLED")
    )

    accepted = await AcceptPlacementHandler(unit_of_work, manual_clock)(AcceptPlacement("e2", placement))

    assert not accepted


async def test_a_later_placement_ends_the_earlier_attempt(
    unit_of_work: SqlUnitOfWorkFactory, manual_clock: ManualClock, placement: Placement, database: Database
) -> None:
    accept = AcceptPlacementHandler(unit_of_work, manual_clock)
    later = replace(placement, number=2, allocation="allocations/a2", fencing_token=2)

    await accept(AcceptPlacement("e1", placement))
    await accept(AcceptPlacement("e2", later))

    found = await SqlTrainerQueries(database).attempts("trainings/t1", PageRequest(10))
    assert [attempt.state for _, attempt in found] == [AttemptState.CANCELLED, AttemptState.PENDING]


async def test_lists_are_read_page_by_page(
    unit_of_work: SqlUnitOfWorkFactory, manual_clock: ManualClock, placement: Placement, database: Database
) -> None:
    async with unit_of_work() as uow:
        for number in range(1, 6):
            accepted_time = manual_clock.now() + timedelta(seconds=number)
            each = replace(placement, number=number, allocation=f"allocations/{number}")
            await uow.attempts.add(Attempt(each, accept_time=accepted_time))
        await uow.commit()
    queries = SqlTrainerQueries(database)

    first = await queries.attempts("", PageRequest(3))
    rest = await queries.attempts("", PageRequest(3, first[-1][0]))
    oldest = await queries.attempts("trainings/t1", PageRequest(2, "3"))

    assert [attempt.placement.number for _, attempt in (*first, *rest)] == [5, 4, 3, 2, 1]
    assert [attempt.placement.number for _, attempt in oldest] == [4, 5]


def trial(digest: str, manual_clock: ManualClock) -> RecordedTrial:
    return RecordedTrial(
        study="studies/vol5",
        training="trainings/t1",
        attempt=1,
        catalogue_id="har",
        parameters_json="{}",
        configuration_digest=digest,
        objective=0.5,
        cpu_seconds=0.1,
        metrics=(b"\x01",),
        create_time=manual_clock.now(),
        outcome="PRUNED",
        detail="behind",
        monthly_losses=((500, 0.1), (501, 0.2)),
    )


async def test_a_trial_recorded_twice_counts_once(
    unit_of_work: SqlUnitOfWorkFactory, manual_clock: ManualClock, placement: Placement, database: Database
) -> None:
    await AcceptPlacementHandler(unit_of_work, manual_clock)(AcceptPlacement("e1", placement))
    record = RecordTrialsHandler(unit_of_work, manual_clock)
    identity = AttemptIdentity(placement.attempt, placement.allocation, placement.fencing_token)
    trials = [trial("aa", manual_clock), trial("bb", manual_clock)]

    counts = [
        await record(RecordTrials(identity, "studies/vol5", VOLATILITY, trials)),
        await record(RecordTrials(identity, "studies/vol5", VOLATILITY, trials)),
        await record(RecordTrials(identity, "studies/vol5", VOLATILITY, [trial("cc", manual_clock)])),
    ]

    queries = SqlTrainerQueries(database)
    study = await queries.study("studies/vol5")
    ledger = await queries.trials("studies/vol5", PageRequest(10))
    assert counts == [2, 2, 3]
    assert study is not None
    assert (study.trial_count, study.training_count, study.target) == (3, 1, VOLATILITY)
    assert [replace(it, position=0) for _, it in ledger] == [
        trial(digest, manual_clock) for digest in ("aa", "bb", "cc")
    ]
    assert await queries.trial_count("studies/vol5", excluding="trainings/t1") == 0


async def test_trials_of_another_label_do_not_enter_a_study(
    unit_of_work: SqlUnitOfWorkFactory, manual_clock: ManualClock, placement: Placement
) -> None:
    await AcceptPlacementHandler(unit_of_work, manual_clock)(AcceptPlacement("e1", placement))
    record = RecordTrialsHandler(unit_of_work, manual_clock)
    identity = AttemptIdentity(placement.attempt, placement.allocation, placement.fencing_token)
    await record(RecordTrials(identity, "studies/vol5", VOLATILITY, [trial("aa", manual_clock)]))

    with pytest.raises(StudyTargetDiffersError):
        await record(RecordTrials(identity, "studies/vol5", StudyTarget(2, 5), [trial("bb", manual_clock)]))
