from datetime import datetime, timedelta
from math import nan
from typing import Any

import numpy as np
import pytest
from mltrainer.trainer.v1.events_pb2 import AttemptProgressed, AttemptStarted
from mltrainer_scheduler.domain.saved_work import saved_s
from mltrainer_scheduler.domain.specification import Resources
from mltrainer_scheduler.domain.training import SchedulingPolicy
from mltrainer_scheduler.wire.events import to_progress

PROMISED = Resources(cpus=1.0, checkpoint_interval_s=5.0)


async def _placed(scheduler: Any, seeded: Any) -> None:
    await scheduler.ready(cpus=4.0)
    await scheduler.request("r", seeded(1, resources=PROMISED))
    await scheduler.place()


async def _checkpoint_s(scheduler: Any) -> float | None:
    training = await scheduler.training("r")
    async with scheduler.unit_of_work.view() as view:
        (held,) = await view.cluster.held_by(training.name)
    time: datetime | None = held.checkpoint_time
    return None if time is None else (time - held.start_time).total_seconds()


@pytest.mark.parametrize(
    ("begin_s", "checkpoint_s", "expected"),
    [
        pytest.param(100.0, 107.5, 7.5, id="reported"),
        pytest.param(100.0, nan, 0.0, id="never reported"),
        pytest.param(100.0, 90.0, 0.0, id="before the attempt"),
        pytest.param(100.0, 500.0, 20.0, id="in the future"),
        pytest.param(nan, 107.5, 0.0, id="no attempt"),
        pytest.param(130.0, 125.0, 0.0, id="clock set back"),
    ],
)
def test_saved_is_what_was_reported_within_the_run(
    begin_s: float, checkpoint_s: float, expected: float
) -> None:
    columns = saved_s(np.array([begin_s]), np.array([checkpoint_s]), 120.0)

    assert float(saved_s(begin_s, checkpoint_s, 120.0)) == expected
    assert columns.tolist() == [expected]


def test_the_checkpoint_of_a_report_is_read() -> None:
    reported, absent, lying = AttemptProgressed(), AttemptProgressed(), AttemptProgressed()
    reported.checkpoint_time.FromJsonString("2026-01-02T03:04:05Z")
    lying.checkpoint_time.seconds = 1 << 60

    times = [to_progress(message).checkpoint_time for message in (reported, absent, lying, AttemptStarted())]

    assert times == [datetime.fromisoformat("2026-01-02T03:04:05Z"), None, None, None]


@pytest.mark.parametrize(
    ("after_s", "revision", "token", "expected"),
    [
        pytest.param(15.0, 4, 1, 15.0, id="later"),
        pytest.param(15.0, 2, 1, 10.0, id="an older report that comes late"),
        pytest.param(4.0, 4, 1, 10.0, id="going backwards"),
        pytest.param(None, 4, 1, 10.0, id="missing"),
        pytest.param(-60.0, 4, 1, 10.0, id="before the allocation"),
        pytest.param(9_999.0, 4, 1, 20.0, id="in the future"),
        pytest.param(15.0, 4, 7, 10.0, id="of another token"),
    ],
)
async def test_checkpoints_only_move_forwards_and_never_past_their_report(
    scheduler: Any, seeded: Any, after_s: float | None, revision: int, token: int, expected: float
) -> None:
    await _placed(scheduler, seeded)
    scheduler.clock.advance(20.0)
    await scheduler.saved("r", 10.0, revision=3)

    await scheduler.saved("r", after_s, revision=revision, token=token)

    assert await _checkpoint_s(scheduler) == expected


@pytest.mark.parametrize(("reported_s", "kept_s"), [(12.0, 12.0), (None, 0.0)])
async def test_a_lapsed_attempt_keeps_what_it_reported_and_not_what_it_promised(
    make_scheduler: Any, seeded: Any, reported_s: float | None, kept_s: float
) -> None:
    scheduler = make_scheduler(policy=SchedulingPolicy(lease_s=30.0))
    await _placed(scheduler, seeded)
    scheduler.clock.advance(20.0)
    await scheduler.saved("r", reported_s)
    scheduler.clock.advance(40.0)

    await scheduler.lapse()

    assert (await scheduler.training("r")).attained_s == kept_s


async def test_plans_see_a_checkpoint_that_is_reported_without_any_other_change(
    scheduler: Any, seeded: Any
) -> None:
    await _placed(scheduler, seeded)
    scheduler.clock.advance(20.0)
    now = scheduler.clock.now()
    async with scheduler.unit_of_work.view() as view:
        await scheduler.planner.follow(view.planning, now)
    await scheduler.saved("r", 10.0)

    async with scheduler.unit_of_work.view() as view:
        await scheduler.planner.follow(view.planning, now + timedelta(seconds=1))

    jobs = scheduler.planner.snapshot(now).jobs
    assert (jobs.attained_s.tolist(), jobs.unsaved_s.tolist()) == ([10.0], [10.0])
