from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mltrainer.scheduler.v1.events_pb2 import (
    TrainingCompleted,
    TrainingDeduplicated,
    TrainingRejected,
    TrainingRequested,
)
from mltrainer.trainer.v1 import retraining_service_pb2 as contract
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_trainer.adapters.exchange_days import ExchangeDays
from mltrainer_trainer.adapters.retraining_unit_of_work import SqlRetrainingUnitOfWorkFactory
from mltrainer_trainer.application.retrain import (
    BeginRunsHandler,
    Challenger,
    FollowTrainingHandler,
    PairRunsHandler,
    RetrainingHandler,
)
from mltrainer_trainer.domain.errors import (
    InvalidFieldError,
    RetrainingExistsError,
    RetrainingNotFoundError,
    StaleEtagError,
)
from mltrainer_trainer.domain.retraining import Retraining, RunState, TrainingWanted
from mltrainer_trainer.wire.retrainings import from_retraining, to_request, to_retraining, to_training_end

# A Monday, an hour before the schedule below.
NOW = datetime(2026, 11, 23, 21, tzinfo=UTC)
NAME = "retrainings/nightly"


@dataclass
class Clock:
    time: datetime = NOW

    def now(self) -> datetime:
        return self.time


@dataclass
class Registry:
    aliases: dict[str, Challenger] = field(default_factory=dict)

    async def get(self, model: str, alias: str) -> Challenger | None:
        return self.aliases.get(f"{model}/{alias}")


@dataclass
class Experiments:
    started: list[str] = field(default_factory=list)
    ended: str = ""

    async def start(self, experiment_id: str, retraining: Retraining) -> str:
        self.started.append(experiment_id)
        return f"experiments/{experiment_id}"

    async def outcome(self, experiment: str) -> str:
        return self.ended


class Desk:
    """Retrainings of one trainer, and the requests that they have published."""

    def __init__(self, database: Database) -> None:
        self.requests: list[TrainingRequested] = []
        self.clock, self.market = Clock(), Clock()
        self.registry, self.experiments = Registry(), Experiments()

        def encode(wanted: TrainingWanted) -> TrainingRequested:
            self.requests.append(to_request(wanted))
            return self.requests[-1]

        uow = SqlRetrainingUnitOfWorkFactory(
            EventTransactions(database, "trainer", OutboxSignal(), encode, self.clock)
        )
        self.keep = RetrainingHandler(uow, self.market, ExchangeDays())
        self.begin = BeginRunsHandler(uow, self.clock, self.market, ExchangeDays())
        self.follow = FollowTrainingHandler(uow, self.clock)
        self.pair = PairRunsHandler(uow, self.clock, self.registry, self.experiments)

    async def complete(self, request: TrainingRequested, training: str = "trainings/t1") -> None:
        event = TrainingCompleted(training=training, request_id=request.request_id)
        await self.follow(to_training_end(event, f"end of {training}"))

    async def states(self) -> list[RunState]:
        return [run.state for _, run in await self.keep.runs(NAME, 10, "")]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    url = f"sqlite:///{tmp_path}/trainer.db"
    await migrate(url, "mltrainer_trainer.adapters.migrations")
    async with open_database(url) as database:
        yield Desk(database)


def asked(**changes: object) -> contract.Retraining:
    message = contract.Retraining(schedule="0 17 * * *", traffic=0.5, cooldown_s=60.0, test_days=365)
    message.spec.study = "studies/vol5"
    message.spec.symbols.extend(["AAPL", "MSFT"])
    message.spec.search.models.append("ridge")
    message.spec.budget.cpu_seconds = 60.0
    message.spec.labels["team"] = "vol"
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def retraining(**changes: object) -> Retraining:
    return to_retraining(asked(**changes), NAME, NOW)


async def test_a_calendar_asks_for_a_training_when_it_is_due_and_once(desk: Desk) -> None:
    created = await desk.keep.create(retraining())
    before = await desk.begin.due()
    desk.market.time = NOW + timedelta(hours=1)

    (run,) = await desk.begin.due()
    again = await desk.begin.due()

    assert created.next_run_time == NOW + timedelta(hours=1)
    assert (before, again, run.state) == ([], [], RunState.REQUESTED)
    (request,) = desk.requests
    assert (request.study, request.propose_alias) == ("studies/vol5", "challenger")
    assert (list(request.symbols), dict(request.labels)) == (
        ["AAPL", "MSFT"],
        {"team": "vol", "retraining": NAME},
    )
    assert request.as_of.ToDatetime(tzinfo=UTC) == desk.market.time
    assert request.evaluation.first_test_time.ToDatetime(tzinfo=UTC) == desk.market.time - timedelta(days=365)
    assert (await desk.keep.get(NAME)).next_run_time == NOW + timedelta(days=1, hours=1)


async def test_times_that_were_missed_are_made_up_for_once(desk: Desk) -> None:
    await desk.keep.create(retraining())
    desk.market.time = NOW + timedelta(days=10)

    await desk.begin.due()
    await desk.begin.due()

    assert len(desk.requests) == 1


async def test_a_drift_begins_one_run_however_often_it_is_told(desk: Desk) -> None:
    await desk.keep.create(retraining(schedule="", on_drift=True))

    first = await desk.begin.drifted("event-1", "models/vol5", 4)
    redelivered = await desk.begin.drifted("event-1", "models/vol5", 4)
    told_again = await desk.begin.drifted("event-2", "models/vol5", 4)
    other = await desk.begin.drifted("event-3", "models/other", 1)

    assert [len(one) for one in (first, redelivered, told_again, other)] == [1, 0, 0, 0]
    assert len(desk.requests) == 1


async def test_nothing_is_asked_for_while_a_run_goes_on_or_was_just_now(desk: Desk) -> None:
    await desk.keep.create(retraining(on_drift=True, cooldown_s=86_400.0))
    await desk.begin.drifted("event-1", "models/vol5", 1)
    (open_one,) = await desk.begin.drifted("event-2", "models/vol5", 2)
    rejected = TrainingRejected(training="trainings/t1", request_id=desk.requests[0].request_id, reason="X")
    await desk.follow(to_training_end(rejected, "event-3"))

    (early,) = await desk.begin.drifted("event-4", "models/vol5", 3)
    by_hand = await desk.begin.asked(NAME, "now")

    assert (open_one.state, early.state) == (RunState.SKIPPED, RunState.SKIPPED)
    assert "still requested" in open_one.message
    assert by_hand.state is RunState.REQUESTED
    assert len(desk.requests) == 2


async def test_a_request_by_hand_is_answered_the_same_way_twice(desk: Desk) -> None:
    await desk.keep.create(retraining())

    first, second = await desk.begin.asked(NAME, "r1"), await desk.begin.asked(NAME, "r1")

    assert first == second
    assert len(desk.requests) == 1


async def test_a_challenger_is_compared_with_the_champion_until_that_is_decided(desk: Desk) -> None:
    await desk.keep.create(retraining())
    await desk.begin.asked(NAME, "r1")
    await desk.complete(desk.requests[0])
    nothing_yet = await desk.pair()
    desk.registry.aliases = {
        "models/vol5/champion": Challenger("models/vol5/versions/1", "trainings/t0"),
        "models/vol5/challenger": Challenger("models/vol5/versions/2", "trainings/t1"),
    }

    (paired,) = await desk.pair()
    undecided = await desk.pair()
    desk.experiments.ended = "decided for challenger"
    (concluded,) = await desk.pair()

    assert (nothing_yet, undecided) == ([], [])
    assert (paired.state, paired.version) == (RunState.PAIRED, "models/vol5/versions/2")
    assert paired.experiment == f"experiments/{desk.requests[0].request_id}"
    assert (concluded.state, concluded.message) == (RunState.CONCLUDED, "decided for challenger")
    assert await desk.pair() == []


async def test_a_result_that_was_known_already_is_the_leaders(desk: Desk) -> None:
    await desk.keep.create(retraining())
    await desk.begin.asked(NAME, "r1")
    event = TrainingDeduplicated(
        training="trainings/t2", request_id=desk.requests[0].request_id, duplicate_of="trainings/t1"
    )

    run = await desk.follow(to_training_end(event, "event-1"))

    assert run is not None
    assert (run.state, run.training) == (RunState.TRAINED, "trainings/t1")


async def test_a_version_that_the_registry_refuses_becomes_no_challenger(desk: Desk) -> None:
    await desk.keep.create(retraining())
    await desk.begin.asked(NAME, "r1")
    await desk.complete(desk.requests[0])
    desk.clock.time = NOW + timedelta(minutes=11)

    (run,) = await desk.pair()

    assert run.state is RunState.CONCLUDED
    assert "did not point challenger" in run.message
    assert not desk.experiments.started


async def test_without_a_champion_there_is_nothing_to_compare(desk: Desk) -> None:
    await desk.keep.create(retraining())
    await desk.begin.asked(NAME, "r1")
    await desk.complete(desk.requests[0])
    desk.registry.aliases = {"models/vol5/challenger": Challenger("models/vol5/versions/1", "trainings/t1")}

    (run,) = await desk.pair()

    assert (run.state, desk.experiments.started) == (RunState.CONCLUDED, [])


async def test_the_end_of_a_training_counts_once_and_only_for_its_own_run(desk: Desk) -> None:
    await desk.keep.create(retraining())
    await desk.begin.asked(NAME, "r1")

    await desk.complete(TrainingRequested(request_id="of somebody else"))
    await desk.complete(desk.requests[0])
    await desk.complete(desk.requests[0], "trainings/another")

    assert await desk.states() == [RunState.TRAINED]


async def test_a_paused_retraining_is_never_due(desk: Desk) -> None:
    created = await desk.keep.create(retraining(paused=True, on_drift=True))
    desk.market.time = NOW + timedelta(days=10)

    assert created.next_run_time is None
    assert await desk.begin.due() == []
    assert await desk.begin.drifted("event-1", "models/vol5", 1) == []


async def test_names_are_taken_once_and_stale_changes_are_refused(desk: Desk) -> None:
    created = await desk.keep.create(retraining())
    same = await desk.keep.create(retraining())

    with pytest.raises(RetrainingExistsError):
        await desk.keep.create(retraining(test_days=10))
    changed = await desk.keep.change(retraining(test_days=10), str(created.revision))
    with pytest.raises(StaleEtagError):
        await desk.keep.change(retraining(test_days=20), str(created.revision))
    removed = await desk.keep.remove(NAME)
    with pytest.raises(RetrainingNotFoundError):
        await desk.keep.get(NAME)

    assert (same, removed) == (created, changed)
    assert changed.test_days == 10


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        pytest.param({"schedule": "often"}, "schedule", id="schedule"),
        pytest.param({"schedule": ""}, "schedule", id="nothing begins it"),
        pytest.param({"time_zone": "Mars"}, "time_zone", id="zone"),
        pytest.param({"traffic": 2.0}, "traffic", id="traffic"),
        pytest.param({"test_days": -1}, "test_days", id="days"),
        pytest.param({"cooldown_s": float("nan")}, "cooldown_s", id="cooldown"),
        pytest.param({"challenger": "champion"}, "challenger", id="one alias for both"),
    ],
)
def test_a_malformed_retraining_is_refused_by_its_field(changes: dict[str, object], wrong: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        retraining(**changes)

    assert refused.value.field == wrong


async def test_an_unknown_calendar_is_refused_by_its_field(desk: Desk) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        await desk.keep.create(retraining(calendar="XMOON"))

    assert refused.value.field == "calendar"


def test_what_was_asked_for_is_what_is_shown() -> None:
    shown = from_retraining(replace(retraining(), revision=3))

    assert (shown.time_zone, shown.calendar, shown.model) == ("America/New_York", "XNYS", "models/vol5")
    assert to_retraining(shown, NAME, NOW) == retraining()
    assert shown.etag == "3"
