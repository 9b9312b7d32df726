"""What an attempt has finished is there for the next attempt of the same computation, and for no other."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock
from mltrainer_trainer.adapters.queries import SqlTrainerQueries
from mltrainer_trainer.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_trainer.application.accept_placement import AcceptPlacement, AcceptPlacementHandler
from mltrainer_trainer.application.list_finished_steps import ListFinishedSteps, ListFinishedStepsHandler
from mltrainer_trainer.application.ports import PageRequest
from mltrainer_trainer.application.record_trials import RecordTrials, RecordTrialsHandler
from mltrainer_trainer.application.report_attempt import ReportSuccess, ReportSuccessHandler
from mltrainer_trainer.domain.attempt import AttemptIdentity, Placement, Success
from mltrainer_trainer.domain.checkpoints import FinishedStep
from mltrainer_trainer.domain.errors import StaleFencingTokenError
from mltrainer_trainer.domain.ledger import StudyTarget
from mltrainer_trainer.wire.events import to_event

STEPS = [FinishedStep("k1", b"\x00one", "", 0.5), FinishedStep("k2", b"", "ab" * 32, 2.0)]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    await migrate(database_url, "mltrainer_trainer.adapters.migrations")
    async with open_database(database_url) as database:
        yield database


class Trainer:
    """The use cases that attempts meet."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        transactions = EventTransactions(database, "trainer", OutboxSignal(), to_event, clock)
        self.queries = SqlTrainerQueries(database)
        self.unit_of_work = SqlUnitOfWorkFactory(transactions)
        self.clock = clock
        self._list = ListFinishedStepsHandler(self.unit_of_work)
        self._record = RecordTrialsHandler(self.unit_of_work, clock)

    async def place(self, placement: Placement) -> AttemptIdentity:
        event_id = f"{placement.attempt} {placement.fencing_token}"
        await AcceptPlacementHandler(self.unit_of_work, self.clock)(AcceptPlacement(event_id, placement))
        return AttemptIdentity(placement.attempt, placement.allocation, placement.fencing_token)

    async def record(self, identity: AttemptIdentity, steps: list[FinishedStep]) -> None:
        await self._record(RecordTrials(identity, "studies/vol5", StudyTarget(1, 5), [], steps))

    async def steps(self, identity: AttemptIdentity, page: PageRequest) -> list[FinishedStep]:
        return [step for _, step in await self._list(ListFinishedSteps(identity, page))]


@pytest.fixture
def trainer(database: Database, manual_clock: ManualClock) -> Trainer:
    return Trainer(database, manual_clock)


def next_of(placement: Placement, **changes: str) -> Placement:
    return replace(
        placement,
        number=placement.number + 1,
        allocation=f"allocations/a{placement.number + 1}",
        fencing_token=placement.fencing_token + 1,
        **changes,  # type: ignore[arg-type]  # only texts are changed here
    )


async def test_the_next_attempt_receives_what_the_last_has_finished(
    trainer: Trainer, placement: Placement
) -> None:
    first = await trainer.place(placement)
    await trainer.record(first, STEPS[:1])
    await trainer.record(first, STEPS)

    second = await trainer.place(next_of(placement))

    assert await trainer.steps(second, PageRequest(10)) == STEPS
    assert await trainer.steps(second, PageRequest(10, "k1")) == STEPS[1:]


async def test_an_attempt_that_computes_something_else_receives_nothing(
    trainer: Trainer, placement: Placement
) -> None:
    await trainer.record(await trainer.place(placement), STEPS)

    second = await trainer.place(next_of(placement, computation_key="another"))

    assert await trainer.steps(second, PageRequest(10)) == []


async def test_a_stale_attempt_can_finish_nothing_more(trainer: Trainer, placement: Placement) -> None:
    first = await trainer.place(placement)
    second = await trainer.place(next_of(placement))

    with pytest.raises(StaleFencingTokenError):
        await trainer.record(first, STEPS)

    assert await trainer.steps(second, PageRequest(10)) == []


async def test_a_checkpoint_says_until_when_work_is_safe(
    trainer: Trainer, placement: Placement, manual_clock: ManualClock
) -> None:
    identity = await trainer.place(placement)
    manual_clock.advance(7.0)

    await trainer.record(identity, STEPS)

    attempt = await trainer.queries.attempt(placement.attempt)
    assert attempt is not None
    assert attempt.checkpoint_time == manual_clock.now()


async def test_nothing_is_kept_of_a_training_that_has_succeeded(
    trainer: Trainer, placement: Placement, manual_clock: ManualClock
) -> None:
    identity = await trainer.place(placement)
    await trainer.record(identity, STEPS)

    succeed = ReportSuccessHandler(trainer.unit_of_work, manual_clock)
    await succeed(ReportSuccess(identity, Success("m", "key", b"", b"")))

    assert await trainer.steps(identity, PageRequest(10)) == []
