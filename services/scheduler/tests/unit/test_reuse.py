from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mltrainer_scheduler.application.conclude_attempt import AttemptSuccess
from mltrainer_scheduler.application.explain_miss import ExplainMissHandler, Miss
from mltrainer_scheduler.domain.errors import NoComputationKeyError, TrainingNotFoundError
from mltrainer_scheduler.domain.events import ComputationAudited, SchedulerEvent, TrainingDeduplicated
from mltrainer_scheduler.domain.prices import PriceList
from mltrainer_scheduler.domain.reuse import AuditPolicy, ResultDigests, Worth
from mltrainer_scheduler.domain.specification import Search
from mltrainer_scheduler.domain.training import SchedulingPolicy, Training, TrainingState

ALWAYS = SchedulingPolicy(audits=AuditPolicy(1.0, minimum_age_s=60.0))


class Desk:
    """A scheduler whose attempts say which model they arrived at."""

    def __init__(self, scheduler: Any, prices: Any = None) -> None:
        self.scheduler = scheduler
        self.seen: list[SchedulerEvent] = []
        self.conclude = replace(scheduler.conclude, prices=prices, observe=self.seen.append)
        self.explain_miss = ExplainMissHandler(scheduler.unit_of_work)

    async def finish(self, request_id: str, model: str = "m", scores: str = "s") -> None:
        training = await self.scheduler.training(request_id)
        report = AttemptSuccess(
            f"end of {request_id}",
            training.name,
            training.fencing_token,
            f"manifest of {training.name}",
            training.computation_key,
            "EDGE",
            ResultDigests(model, scores),
            40.0,
        )
        await self.conclude(report)

    async def known(self) -> None:
        """Has the result of `r1` known for an hour."""
        await self.scheduler.ready()
        await self.scheduler.request("r1")
        await self.scheduler.place()
        await self.finish("r1")
        self.scheduler.clock.advance(3_600.0)
        await self.scheduler.heartbeat()

    async def again(self, request_id: str = "r2") -> Training:
        await self.scheduler.request(request_id)
        await self.scheduler.place()
        training: Training = await self.scheduler.training(request_id)
        return training

    async def miss(self, request_id: str, against: str = "") -> Miss:
        training = await self.scheduler.training(request_id)
        return await self.explain_miss(training.name, against)


@pytest.fixture
def desk(scheduler: Any) -> Desk:
    return Desk(scheduler)


async def test_a_known_result_is_worth_what_it_took(desk: Desk) -> None:
    await desk.known()

    accepted = await desk.scheduler.request("r2")

    assert [event.worth for event in accepted.events] == [Worth(40.0, 0.0)]


async def test_a_joined_training_saves_what_its_leader_took(
    scheduler: Any, spec: Callable[..., Any], prices: PriceList
) -> None:
    desk = Desk(scheduler, prices)
    await scheduler.ready()
    await scheduler.request("r1")
    await scheduler.place()
    await scheduler.request("r2")
    scheduler.clock.advance(1_800.0)

    await desk.finish("r1")

    (shared,) = desk.seen
    assert isinstance(shared, TrainingDeduplicated)
    assert shared.worth.cpu_seconds == 40.0
    # Half an hour of one core at 0.04 and one GiB at 0.004 USD per hour.
    assert shared.worth.cost_usd == pytest.approx(0.022)


async def test_without_a_demand_no_known_result_is_computed_again(desk: Desk) -> None:
    await desk.known()

    assert (await desk.again()).state is TrainingState.DEDUPLICATED


async def test_an_audit_that_finds_the_same_model_changes_nothing(make_scheduler: Any) -> None:
    desk = Desk(make_scheduler(policy=ALWAYS))
    await desk.known()
    audit = await desk.again()

    await desk.finish("r2")

    assert (audit.state, audit.audit_of) == (
        TrainingState.PLACED,
        (await desk.scheduler.training("r1")).name,
    )
    (found,) = desk.seen
    assert isinstance(found, ComputationAudited)
    assert found.is_equal
    assert len(desk.scheduler.store.computations) == 1
    assert isinstance(desk.scheduler.events[-1], ComputationAudited)


async def test_an_audit_that_finds_another_model_forgets_the_known_one(make_scheduler: Any) -> None:
    desk = Desk(make_scheduler(policy=ALWAYS))
    await desk.known()
    await desk.again()

    await desk.finish("r2", model="another")

    (found,) = desk.seen
    assert isinstance(found, ComputationAudited)
    assert not found.is_equal
    assert not desk.scheduler.store.computations
    assert (await desk.again("r3")).state is TrainingState.PLACED
    assert (await desk.scheduler.training("r3")).audit_of == ""


async def test_an_audit_that_finds_the_same_model_with_other_scores_forgets_the_known_one(
    make_scheduler: Any,
) -> None:
    desk = Desk(make_scheduler(policy=ALWAYS))
    await desk.known()
    await desk.again()

    await desk.finish("r2", scores="others")

    (found,) = desk.seen
    assert isinstance(found, ComputationAudited)
    assert not found.is_equal
    assert not desk.scheduler.store.computations


def test_scores_that_nobody_kept_contradict_nothing() -> None:
    training, found = Training.__new__(Training), ResultDigests("m", "s")

    audits = [ComputationAudited(training, ResultDigests("m", known), found) for known in ("", "s", "t")]

    assert [audit.is_equal for audit in audits] == [True, True, False]


async def test_a_young_result_is_not_doubted(make_scheduler: Any) -> None:
    desk = Desk(make_scheduler(policy=SchedulingPolicy(audits=AuditPolicy(1.0, minimum_age_s=3_601.0))))
    await desk.known()

    assert (await desk.again()).state is TrainingState.DEDUPLICATED


async def test_a_failed_audit_attempt_leaves_the_known_result_alone(make_scheduler: Any) -> None:
    desk = Desk(make_scheduler(policy=ALWAYS))
    await desk.known()
    audit = await desk.again()

    await desk.scheduler.fail(audit, retryable=False)

    (known,) = desk.scheduler.store.computations.values()
    assert known.is_finished


async def test_who_demands_it_gets_a_computation_of_their_own(desk: Desk, spec: Callable[..., Any]) -> None:
    await desk.known()

    await desk.scheduler.request("r2", spec(recompute=True))
    await desk.scheduler.place()

    assert (await desk.scheduler.training("r2")).state is TrainingState.PLACED


def test_one_per_cent_of_trainings_is_audited() -> None:
    policy = AuditPolicy(0.01)

    drawn = sum(policy.demands(f"trainings/{number}", "k", 1e9) for number in range(20_000))

    assert 140 <= drawn <= 260
    assert not any(AuditPolicy().demands(f"trainings/{number}", "k", 1e9) for number in range(100))


async def test_a_miss_is_explained_by_the_nearest_earlier_result(
    desk: Desk, spec: Callable[..., Any]
) -> None:
    await desk.known()
    await desk.scheduler.request("r2", spec(search=Search(("ridge",), seed=9), symbols=("MSFT",)))
    await desk.scheduler.request("r3", spec(search=Search(("ridge",), seed=8)))

    miss = await desk.miss("r3")

    assert miss.against == (await desk.scheduler.training("r1")).name
    assert [(one.field, one.first, one.second) for one in miss.differences] == [("search.seed", "8", "1")]
    assert miss.message.endswith("in search")


async def test_another_study_is_named_as_the_difference(desk: Desk, spec: Callable[..., Any]) -> None:
    await desk.known()

    await desk.scheduler.request("r2", spec(study="studies/other"))

    assert [one.field for one in (await desk.miss("r2")).differences] == ["study"]


async def test_two_trainings_are_compared_on_request(desk: Desk, spec: Callable[..., Any]) -> None:
    await desk.known()
    await desk.scheduler.request("r2", spec(search=Search(("ridge",), seed=8)))

    miss = await desk.miss("r1", (await desk.scheduler.training("r2")).name)

    assert [(one.field, one.first, one.second) for one in miss.differences] == [("search.seed", "1", "8")]


async def test_a_hit_is_no_miss_and_a_first_one_has_nothing_to_compare_with(desk: Desk) -> None:
    await desk.known()
    await desk.again()

    assert (await desk.miss("r2")).message.startswith("not a miss")
    assert "nothing" not in (await desk.miss("r1")).message
    assert not (await desk.miss("r1")).against


async def test_what_is_not_known_cannot_be_explained(desk: Desk) -> None:
    await desk.scheduler.request("r1")

    with pytest.raises(NoComputationKeyError):
        await desk.miss("r1")
    with pytest.raises(TrainingNotFoundError):
        await desk.explain_miss("trainings/none")
