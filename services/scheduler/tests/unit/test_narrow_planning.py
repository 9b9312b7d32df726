"""Plans around events in a cluster that is too large to be planned anew each time."""

from collections.abc import Callable
from typing import Any

import pytest
from mltrainer_scheduler.application.planner import Cadence, Planner
from mltrainer_scheduler.bootstrap import planning_policy
from mltrainer_scheduler.domain import situations
from mltrainer_scheduler.domain.specification import Resources, TrainingSpec
from mltrainer_scheduler.domain.training import SchedulingPolicy
from mltrainer_scheduling.quotas import UNLIMITED, Queue

Spec = Callable[..., TrainingSpec]
ONE_CPU = Resources(cpus=1.0)


@pytest.fixture
def large(make_scheduler: Any) -> Any:
    """Plans narrowly from the first training on."""
    return make_scheduler(
        planner=Planner(planning_policy("default"), SchedulingPolicy(), Cadence(60.0, narrow_from=1))
    )


async def _ask(scheduler: Any, seeded: Spec, *numbers: int, **changes: Any) -> None:
    for number in numbers:
        await scheduler.request(f"r{number}", seeded(number, **({"resources": ONE_CPU} | changes)))


async def test_what_an_end_frees_is_given_away_at_once(large: Any, seeded: Spec) -> None:
    await large.ready(cpus=2.0)
    await _ask(large, seeded, 1, 2, 3, 4)
    first = (await large.place()).placed
    full = large.planner.decisions

    await large.succeed(first[0])
    second = (await large.place()).placed

    assert [item.request_id for item in first] == ["r1", "r2"]
    assert [item.request_id for item in second] == ["r3"]
    assert large.planner.decisions is full


async def test_who_arrives_is_placed_without_a_plan_of_everything(large: Any, seeded: Spec) -> None:
    await large.ready(cpus=2.0)
    await _ask(large, seeded, 1)
    await large.place()
    full = large.planner.decisions

    await _ask(large, seeded, 2)
    done = await large.place()

    assert [item.request_id for item in done.placed] == ["r2"]
    assert large.planner.decisions is full


async def test_a_narrow_plan_keeps_the_ceilings_of_the_whole_cluster(large: Any, seeded: Spec) -> None:
    await large.ready(cpus=4.0)
    await large.queues.set([Queue("desk", ceiling=(2_000, UNLIMITED, UNLIMITED))], None)
    await _ask(large, seeded, 1, 2, 3, queue="desk")
    first = (await large.place()).placed

    await _ask(large, seeded, 4, queue="desk")
    at_the_ceiling = await large.place()
    await large.succeed(first[0])
    below_it = await large.place()

    assert [item.request_id for item in first] == ["r1", "r2"]
    assert at_the_ceiling.placed == ()
    assert len(below_it.placed) == 1


@pytest.mark.parametrize("change", ["node", "queues", "time"])
async def test_what_concerns_everybody_is_planned_in_full(large: Any, seeded: Spec, change: str) -> None:
    await large.ready(cpus=2.0)
    await _ask(large, seeded, 1, 2, 3)
    await large.place()
    full = large.planner.decisions

    if change == "node":
        await large.heartbeat(4.0, "nodes/b")
    elif change == "queues":
        await large.queues.set([Queue("desk")], None)
    else:
        large.clock.advance(61.0)
        await large.heartbeat(2.0)
    await large.place()

    assert large.planner.decisions is not full


async def test_of_very_many_each_queue_has_its_first_ones_planned_and_the_rest_are_behind_them(
    large: Any, seeded: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(situations, "_WINDOW", 4)
    await large.ready(cpus=3.0)
    await _ask(large, seeded, *range(10), queue="crowd")
    await _ask(large, seeded, 10, queue="other")
    await _ask(large, seeded, 11, queue="crowd", priority=1)

    placed = [item.request_id for item in (await large.place()).placed]
    last = await large.explain((await large.training("r9")).name)

    assert {"r10", "r11"} <= set(placed)
    assert (last.reason, last.queue_position) == ("BEHIND_OTHERS", 9)
