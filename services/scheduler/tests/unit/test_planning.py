"""Quotas, reclaiming, preemption and bad input, through the handlers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from mltrainer_common.errors import StartupError
from mltrainer_scheduler.application.renew_allocations import Claim
from mltrainer_scheduler.bootstrap import planning_policy
from mltrainer_scheduler.domain.cluster import Capacity, NodeReport, offered
from mltrainer_scheduler.domain.errors import QueuesChangedError
from mltrainer_scheduler.domain.events import TrainingPreempted
from mltrainer_scheduler.domain.specification import Budget, Resources, TrainingSpec
from mltrainer_scheduler.domain.training import SchedulingPolicy, Terms, TrainingState
from mltrainer_scheduling.quotas import UNLIMITED, Amounts, Queue, QueueTreeError

Spec = Callable[..., TrainingSpec]
AT_ONCE = SchedulingPolicy(terms=Terms(minimum_run_s=0.0))


def _cpus(count: int) -> Amounts:
    return (1_000 * count, 0, 0)


def _at_most(count: int) -> Amounts:
    return (1_000 * count, UNLIMITED, UNLIMITED)


async def _ask(scheduler: Any, seeded: Spec, queue: str, *numbers: int, **resources: Any) -> None:
    for number in numbers:
        spec = seeded(number, queue=queue, resources=Resources(**({"cpus": 1.0} | resources)))
        await scheduler.request(f"{queue}{number}", spec)


async def _states(scheduler: Any, *requests: str) -> list[str]:
    return [(await scheduler.training(request)).state for request in requests]


async def test_a_ceiling_holds_a_queue_and_all_above_it(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready(cpus=8.0)
    await scheduler.queues.set(
        [Queue("desk", ceiling=_at_most(2)), Queue("a", "desk"), Queue("b", "desk")], None
    )
    await _ask(scheduler, seeded, "a", 1, 2)
    await _ask(scheduler, seeded, "b", 3)
    await _ask(scheduler, seeded, "b", 4, cpus=3.0)

    placed = (await scheduler.place()).placed

    waiting = await scheduler.explain((await scheduler.training("b3")).name)
    never = await scheduler.explain((await scheduler.training("b4")).name)
    assert [item.request_id for item in placed] == ["a1", "a2"]
    assert waiting.reason == "QUOTA_EXHAUSTED"
    assert (never.reason, never.blocking) == ("LARGER_THAN_QUOTA", ())


async def test_queues_share_by_weight_and_lend_what_is_left(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready(cpus=8.0)
    await scheduler.queues.set([Queue("a", weight=3.0), Queue("b")], None)
    await _ask(scheduler, seeded, "a", *range(10))
    await _ask(scheduler, seeded, "b", *range(10, 20))

    await scheduler.place()

    uses, _ = await scheduler.queues.list(10, "")
    assert [(use.queue.name, use.placed_count, use.share) for use in uses] == [("a", 6, 0.75), ("b", 2, 0.25)]
    assert (await scheduler.explain((await scheduler.training("b15")).name)).reason == "FAIR_SHARE_REACHED"


async def test_what_was_lent_is_taken_back_from_who_loses_least(make_scheduler: Any, seeded: Spec) -> None:
    scheduler = make_scheduler(policy=AT_ONCE)
    await scheduler.ready(cpus=3.0)
    await scheduler.queues.set([Queue("a", guaranteed=_cpus(2)), Queue("b", guaranteed=_cpus(1))], None)
    await _ask(scheduler, seeded, "b", 1)
    await _ask(scheduler, seeded, "b", 2, 3, checkpoint_interval_s=8.0)
    await scheduler.place()
    scheduler.clock.advance(9.0)
    await scheduler.saved("b2", 2.0)
    await scheduler.saved("b3", 8.0)
    await scheduler.heartbeat(3.0)
    await _ask(scheduler, seeded, "a", 4)

    done = await scheduler.place()

    (victim,) = done.stopped
    assert victim.request_id == "b3"
    assert (victim.attained_s, victim.preemption_count, victim.state) == (8.0, 1, TrainingState.QUEUED)
    assert await _states(scheduler, "a4", "b1", "b2") == [TrainingState.PLACED] * 3
    (preempted,) = [event for event in scheduler.events if isinstance(event, TrainingPreempted)]
    assert preempted.allocation.end_reason == "PREEMPTED"
    assert "gave its place to" in victim.message


async def test_what_begins_and_gives_way_in_one_plan_was_never_placed(
    make_scheduler: Any, seeded: Spec
) -> None:
    scheduler = make_scheduler(policy=AT_ONCE)
    await scheduler.ready(cpus=2.0)
    desk = Queue("desk", guaranteed=_cpus(2))
    await scheduler.queues.set([desk, Queue("a", "desk"), Queue("b", "desk", guaranteed=_cpus(1))], None)
    await _ask(scheduler, seeded, "c", 1, cpus=2.0)
    await scheduler.place()
    await _ask(scheduler, seeded, "a", 2, cpus=2.0)
    await _ask(scheduler, seeded, "b", 3)

    done = await scheduler.place()

    assert [item.request_id for item in done.stopped] == ["c1"]
    assert await _states(scheduler, "a2", "b3") == [TrainingState.QUEUED, TrainingState.PLACED]
    assert (await scheduler.training("a2")).preemption_count == 0


async def test_nothing_is_reclaimed_before_the_minimum_run_or_beyond_the_bound(
    make_scheduler: Any, seeded: Spec
) -> None:
    scheduler = make_scheduler(policy=SchedulingPolicy(terms=Terms(minimum_run_s=60.0, max_preemptions=0)))
    patient = make_scheduler(policy=SchedulingPolicy(terms=Terms(minimum_run_s=60.0)))
    for one in (scheduler, patient):
        await one.ready(cpus=1.0)
        await one.queues.set([Queue("a", guaranteed=_cpus(1))], None)
        await _ask(one, seeded, "b", 1)
        await one.place()
        await _ask(one, seeded, "a", 2)
        one.clock.advance(10.0)
        await one.heartbeat(1.0)
        assert (await one.place()).stopped == ()

    for one in (scheduler, patient):
        one.clock.advance(60.0)
        await one.heartbeat(1.0)

    assert (await scheduler.place()).stopped == ()
    assert [item.request_id for item in (await patient.place()).stopped] == ["b1"]


async def test_a_preempted_attempt_reports_in_vain_and_the_next_token_is_higher(
    make_scheduler: Any, seeded: Spec
) -> None:
    scheduler = make_scheduler(policy=AT_ONCE)
    await scheduler.ready(cpus=1.0)
    await scheduler.queues.set([Queue("a", guaranteed=_cpus(1))], None)
    await _ask(scheduler, seeded, "b", 1)
    await scheduler.place()
    before = await scheduler.training("b1")
    await _ask(scheduler, seeded, "a", 2)
    await scheduler.place()

    stale = await scheduler.succeed(before)
    await scheduler.succeed(await scheduler.training("a2"))
    await scheduler.place()

    again = await scheduler.training("b1")
    assert stale == "STALE"
    assert (again.state, again.fencing_token, again.attempt_count) == (TrainingState.PLACED, 2, 2)


async def test_preemptions_do_not_use_up_attempts(make_scheduler: Any, seeded: Spec) -> None:
    scheduler = make_scheduler(policy=replace(AT_ONCE, max_attempts=1))
    await scheduler.ready(cpus=1.0)
    await scheduler.queues.set([Queue("a", guaranteed=_cpus(1))], None)
    await _ask(scheduler, seeded, "b", 1)
    await scheduler.place()
    await _ask(scheduler, seeded, "a", 2)
    await scheduler.place()

    assert await _states(scheduler, "b1", "a2") == [TrainingState.QUEUED, TrainingState.PLACED]


async def test_a_node_that_comes_back_with_less_gives_up_what_it_cannot_hold(
    scheduler: Any, seeded: Spec
) -> None:
    await scheduler.ready(cpus=3.0)
    await _ask(scheduler, seeded, "default", 1, 2, 3)
    await scheduler.place()
    scheduler.clock.advance(1.0)
    await scheduler.heartbeat(cpus=1.0)

    done = await scheduler.place()

    assert len(done.stopped) == 2
    assert {item.reason for item in done.stopped} == {"NODE_SHRANK"}
    assert len([item for item in scheduler.store.allocations.values() if item.end_time is None]) == 1


async def test_a_node_that_reports_twice_or_late_counts_once(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready(cpus=2.0)
    now = scheduler.clock.now()
    old = NodeReport("nodes/a", Capacity(64_000, 1 << 40, 0), "", True, False, "", 1, now)  # noqa: FBT003 - flags of a report
    await scheduler.replicate.nodes([old, old])
    await _ask(scheduler, seeded, "default", 1, 2, 3)

    placed = (await scheduler.place()).placed

    assert len(placed) == 2


@pytest.mark.parametrize(
    ("cpus", "memory", "gpus"),
    [
        pytest.param(float("nan"), -5, float("inf"), id="no numbers"),
        pytest.param(-1.0, 1 << 62, -0.5, id="negative or absurd"),
    ],
)
def test_a_node_that_reports_nonsense_offers_nothing(cpus: float, memory: int, gpus: float) -> None:
    assert offered(cpus, memory, gpus) == Capacity()


async def test_a_node_that_falls_silent_gets_nothing_and_its_work_starts_elsewhere_after_the_lease(
    scheduler: Any, seeded: Spec
) -> None:
    await scheduler.ready(cpus=1.0)
    await _ask(scheduler, seeded, "default", 1)
    await scheduler.place()
    lost = await scheduler.training("default1")
    scheduler.clock.advance(31.0)
    await scheduler.heartbeat(1.0, "nodes/b")

    lapsed = await scheduler.lapse()
    placed = (await scheduler.place()).placed

    again = await scheduler.training("default1")
    assert [item.name for item in lapsed] == [lost.name]
    assert [item.name for item in placed] == [lost.name]
    assert "nodes/b" in again.message
    renewal = await scheduler.renew("nodes/a", [Claim(next(iter(scheduler.store.allocations)), 1)])
    assert (renewal.renewed, len(renewal.revoked)) == ((), 1)


async def test_a_scheduler_that_does_not_lead_plans_nothing(make_scheduler: Any, seeded: Spec) -> None:
    leader = make_scheduler()
    follower = make_scheduler(leader.unit_of_work, holder="scheduler-1")
    await leader.ready()
    await leader.lead()
    await _ask(leader, seeded, "default", 1)

    assert not await follower.lead()
    assert (await follower.place_handler()).placed == ()
    follower.clock.advance(5.0)
    assert await follower.lead()
    follower.clock.time = leader.clock.time
    assert len((await follower.place_handler()).placed) == 1
    assert (await leader.place_handler()).placed == ()


async def test_a_preview_names_place_price_and_end_and_changes_nothing(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready(cpus=4.0)
    for number in range(6):
        await _ask(scheduler, seeded, "default", number)
        await scheduler.place()
        scheduler.clock.advance(100.0)
        await scheduler.succeed(await scheduler.training(f"default{number}"))
        await scheduler.heartbeat(4.0)
    before = scheduler.unit_of_work.store.copy()

    preview = await scheduler.preview(seeded(99, resources=Resources(cpus=2.0)))

    assert [(share.node, share.workers) for share in preview.shares] == [("nodes/a", 1)]
    assert preview.price_usd_per_hour == pytest.approx(2 * 0.04 + 0.004)
    assert preview.sample_count == 6
    assert preview.latest_end_time == scheduler.clock.now() + timedelta(seconds=100.0)
    assert preview.expected_cost_usd == pytest.approx(preview.price_usd_per_hour / 36.0)
    assert scheduler.unit_of_work.store == before


@pytest.mark.parametrize(("deadline_s", "missed"), [(90.0, "100%"), (7_200.0, "0%")])
async def test_a_preview_on_spot_says_whether_its_deadline_holds_and_what_interruptions_cost(
    scheduler: Any, seeded: Spec, deadline_s: float, missed: str
) -> None:
    await scheduler.ready(cpus=4.0)
    for number in range(6):
        await _ask(scheduler, seeded, "default", number)
        await scheduler.place()
        scheduler.clock.advance(100.0)
        await scheduler.succeed(await scheduler.training(f"default{number}"))
        await scheduler.heartbeat(4.0)
    now = scheduler.clock.now()
    spot = NodeReport("nodes/a", offered(4.0, 8 << 30, 0.0), "", True, True, "", 1 << 50, now)  # noqa: FBT003
    await scheduler.replicate.nodes([spot])

    preview = await scheduler.preview(
        seeded(99, budget=Budget(cpu_seconds=60.0, deadline_time=now + timedelta(seconds=deadline_s)))
    )

    assert preview.shares[0].spot
    assert f"{missed} of forecasts miss its deadline" in preview.message
    assert preview.expected_cost_usd is not None
    assert preview.price_usd_per_hour is not None
    assert preview.expected_cost_usd > preview.price_usd_per_hour / 36.0


async def test_a_preview_of_what_must_wait_says_why_and_for_how_long(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready(cpus=1.0)
    await _ask(scheduler, seeded, "default", 1)
    await scheduler.place()

    waits = await scheduler.preview(seeded(2))
    never = await scheduler.preview(seeded(3, resources=Resources(cpus=1.0, gang_workers=50)))
    equal = await scheduler.preview(seeded(1))
    wrong = await scheduler.preview(seeded(4, budget=Budget()))

    assert (waits.reason, waits.shares, waits.latest_start_time) == ("INSUFFICIENT_CPUS", (), None)
    assert never.reason == "GANG_LARGER_THAN_CLUSTER"
    assert (equal.reason, equal.duplicate_of) == ("JOINED", (await scheduler.training("default1")).name)
    assert [item.field for item in wrong.violations] == ["budget"]


async def test_a_start_is_expected_from_how_long_trainings_took(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready(cpus=1.0)
    for number in range(5):
        await _ask(scheduler, seeded, "default", number)
        await scheduler.place()
        scheduler.clock.advance(100.0)
        await scheduler.succeed(await scheduler.training(f"default{number}"))
        await scheduler.heartbeat(1.0)
    await _ask(scheduler, seeded, "default", 10, 11)
    await scheduler.place()

    explained = await scheduler.explain((await scheduler.training("default11")).name)

    assert explained.earliest_start_time == scheduler.clock.now() + timedelta(seconds=100.0)
    assert explained.latest_start_time >= explained.earliest_start_time


async def test_a_wrong_tree_changes_nothing_and_a_stale_one_neither(scheduler: Any) -> None:
    await scheduler.queues.set([Queue("a")], None)
    _, revision = await scheduler.queues.list(10, "")

    with pytest.raises(QueueTreeError):
        await scheduler.queues.set([Queue("b", "nowhere")], None)
    with pytest.raises(QueuesChangedError):
        await scheduler.queues.set([Queue("c")], revision - 1)

    uses, _ = await scheduler.queues.list(10, "")
    assert [use.queue.name for use in uses] == ["a"]


@pytest.mark.parametrize("name", ["srtf", "sjf", "nonsense"])
def test_a_policy_that_cannot_plan_live_ends_the_start(name: str) -> None:
    with pytest.raises(StartupError, match="use one of"):
        planning_policy(name)
