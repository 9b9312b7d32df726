"""Remembers what queues held and how long trainings took."""

from collections.abc import Sequence

from mltrainer_scheduling.fair_share import PastUse, with_held
from mltrainer_scheduling.quotas import NOTHING, plus

from mltrainer_scheduler.application.ports import UnitOfWork
from mltrainer_scheduler.domain.cluster import demand_of
from mltrainer_scheduler.domain.facts import Duration
from mltrainer_scheduler.domain.lifecycle import Change
from mltrainer_scheduler.domain.training import Training, TrainingState

_PERMILLE = 1_000


async def charge(uow: UnitOfWork, changes: Sequence[Change], half_life_s: float) -> None:
    """Counts the allocations that ended against their queues, and the time of trainings that completed."""
    ended = [change for change in changes if any(item.end_time for item in change.allocations)]
    if not ended:
        return
    past = await uow.planning.past({change.training.spec.queue for change in ended})
    for change in ended:
        queue = change.training.spec.queue
        past[queue] = _with_ended(past.get(queue, PastUse()), change, half_life_s)
    await uow.planning.set_past(past)
    for change in ended:
        if change.training.state is TrainingState.COMPLETED:
            await uow.planning.add_duration(_duration(change.training))


def _with_ended(use: PastUse, change: Change, half_life_s: float) -> PastUse:
    worker = demand_of("", change.training.spec.resources).worker.amounts
    for item in change.allocations:
        if item.end_time is not None:
            amounts = plus(NOTHING, worker, item.share.workers)
            begin_s, end_s = item.start_time.timestamp(), item.end_time.timestamp()
            use = with_held(use, amounts, begin_s, end_s, half_life_s)
    return use


def _duration(training: Training) -> Duration:
    demand = demand_of("", training.spec.resources)
    gpus = demand.workers * demand.worker.gpu_millis / _PERMILLE
    last_s = 0.0
    if training.begin_time and training.end_time:
        last_s = max((training.end_time - training.begin_time).total_seconds(), 0.0)
    wall_s = training.attained_s + last_s
    return Duration(training.spec.study, gpus, wall_s, training.create_time.timestamp())
