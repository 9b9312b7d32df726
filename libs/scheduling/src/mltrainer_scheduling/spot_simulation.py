"""Replays availability series through spot policies, and computes what knowing the future would have cost.

A tick on demand costs one. Progress survives an interruption; every start pays the changeover first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltrainer_scheduling.jobs import Flags, Floats, Integers
from mltrainer_scheduling.spot import (
    DeadlineTooShortError,
    SpotChoice,
    SpotPolicy,
    choice_for,
    within_deadline,
)
from mltrainer_scheduling.spot_forecast import AvailabilityModel, learn_availability, run_ages
from mltrainer_scheduling.spot_plan import CostToGo, Instance, JobStates, SpotTerms, plan_costs

# The forecast is learned anew after so many ticks: four days of 195 s.
LESSON_TICKS = 1_772


@dataclass(frozen=True, slots=True)
class SpotJobs:
    """Jobs that start at some tick of one zone; `model[j, t]` is the row of the forecast known then."""

    available: Flags
    age: Integers
    model: Integers


@dataclass(frozen=True, slots=True)
class SpotRuns:
    """What each job cost, in ticks on demand, when it finished (-1: not), and how it ran."""

    cost: Floats
    finish_tick: Integers
    starts: Integers
    on_demand_ticks: Integers

    @property
    def missed(self) -> Flags:
        """Which jobs did not finish by the deadline."""
        return self.finish_tick < 0


def check_deadline(terms: SpotTerms, deadline_ticks: int) -> None:
    """Refuses jobs that on-demand cannot finish in time.

    Raises:
        DeadlineTooShortError: There is too little time.
    """
    if terms.work_ticks + terms.changeover_ticks > deadline_ticks:
        raise DeadlineTooShortError(terms.work_ticks + terms.changeover_ticks, deadline_ticks)


def jobs_in_zone(
    series: Flags, starts: Sequence[int], ticks: int
) -> tuple[SpotJobs, list[AvailabilityModel]]:
    """Cuts jobs out of a zone's series, with forecasts learned from the past of each lesson only."""
    lessons = range(0, len(series), LESSON_TICKS)
    models = [learn_availability(series[:lesson]) for lesson in lessons]
    ages = run_ages(series, np.zeros(0, np.bool_))
    rows = np.array([range(start, start + ticks) for start in starts]).reshape(len(starts), ticks)
    return SpotJobs(series[rows], ages[rows], rows // LESSON_TICKS), models


def plan_for(
    policy: SpotPolicy, models: Sequence[AvailabilityModel], terms: SpotTerms, deadline_ticks: int
) -> CostToGo | None:
    """Solves the plan of the policies that have one."""
    return plan_costs(models, terms, deadline_ticks) if policy is SpotPolicy.DEFAULT else None


def simulate_spot(
    jobs: SpotJobs,
    terms: SpotTerms,
    deadline_ticks: int,
    policy: SpotPolicy = SpotPolicy.DEFAULT,
    plan: CostToGo | None = None,
) -> SpotRuns:
    """Runs every job to its end or its deadline.

    Raises:
        DeadlineTooShortError: Not even on-demand would finish in time.
    """
    check_deadline(terms, deadline_ticks)
    return play(
        jobs,
        terms,
        deadline_ticks,
        choice_for(policy, terms, plan),
        fall_back=policy is not SpotPolicy.SPOT_ONLY,
    )


def play(
    jobs: SpotJobs, terms: SpotTerms, deadline_ticks: int, choose: SpotChoice, *, fall_back: bool = True
) -> SpotRuns:
    """The same with any choice."""
    size = len(jobs.available)
    work = np.full(size, terms.work_ticks, np.int64)
    instance, changeover, starts, on_demand = (np.zeros(size, np.int64) for _ in range(4))
    finish, cost = np.full(size, -1, np.int64), np.zeros(size)
    for tick in range(deadline_ticks):
        if not work.any():
            break
        available = jobs.available[:, tick]
        lost = (instance == Instance.SPOT) & ~available
        instance = np.where(lost, Instance.NONE, instance)
        changeover = np.where(instance == Instance.NONE, 0, changeover)
        states = JobStates(
            tick,
            deadline_ticks - tick,
            available,
            jobs.age[:, tick],
            instance,
            work,
            changeover,
            jobs.model[:, tick],
            cost,
        )
        action = within_deadline(choose(states), states, terms, fall_back=fall_back)
        started = (action != Instance.NONE) & (action != instance)
        changeover = np.where(started, terms.changeover_ticks, changeover)
        cost += np.array([0.0, terms.spot_ratio, 1.0])[action]
        progress = (action != Instance.NONE) & (changeover == 0)
        finish = np.where(progress & (work == 1), tick + 1, finish)
        work = work - progress
        changeover = np.maximum(changeover - (action != Instance.NONE), 0)
        instance = np.where(work > 0, action, Instance.NONE)
        starts += started
        on_demand += action == Instance.ON_DEMAND
    return SpotRuns(cost, finish, starts, on_demand)


def offline_costs(available: Flags, terms: SpotTerms, deadline_ticks: int) -> Floats:
    """Returns the least cost of each job had the future been known, exactly, by dynamic programming.

    Raises:
        DeadlineTooShortError: There is no such plan.
    """
    check_deadline(terms, deadline_ticks)
    size, work, lead = len(available), terms.work_ticks, terms.changeover_ticks
    idle = np.full((size, work + 1), np.inf, np.float32)
    idle[:, 0] = 0.0
    spot = np.repeat(idle[:, None], lead + 1, axis=1)
    on_demand = spot.copy()
    for tick in reversed(range(deadline_ticks)):
        on_spot = _after_a_tick(spot) + np.float32(terms.spot_ratio)
        on_spot[~available[:, tick]] = np.inf
        demanded = _after_a_tick(on_demand) + np.float32(1.0)
        spot = np.minimum(on_spot, np.minimum(idle, demanded[:, lead])[:, None])
        on_demand = np.minimum(demanded, np.minimum(idle, on_spot[:, lead])[:, None])
        idle = np.minimum(idle, np.minimum(on_spot[:, lead], demanded[:, lead]))
        spot[..., 0] = on_demand[..., 0] = 0.0
    return np.asarray(idle[:, work], np.float64)


def _after_a_tick(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shifts the value by one tick of changeover, or of work once the changeover is over."""
    after = np.empty_like(value)
    after[:, 1:] = value[:, :-1]
    after[:, 0, 1:] = value[:, 0, :-1]
    after[:, 0, 0] = 0.0
    return after
