"""Spot or on-demand, tick by tick: policies as pure functions over the state of many jobs, one row each.

No policy can miss a deadline that on-demand could keep: `within_deadline` overrules what would leave too
little time to start on demand and finish, the changeover included. Nor can the default cost more than
on-demand and a small stake: `within_budget`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from mltrainer_scheduling.jobs import Floats, Integers
from mltrainer_scheduling.spot_plan import CostToGo, Instance, JobStates, SpotTerms

# Of the price of doing it all on demand, what a job may lose by trying spot.
_STAKE = 0.01
_ROUNDING = 1e-9


class SpotPolicy(StrEnum):
    """The policies that can be simulated."""

    DEFAULT = "default"
    ON_DEMAND = "on-demand"
    SPOT_ONLY = "spot-only"
    GREEDY = "greedy"
    UNIFORM_PROGRESS = "uniform-progress"


class DeadlineTooShortError(ValueError):
    """Not even an on-demand machine would finish in time."""

    def __init__(self, needed_ticks: int, deadline_ticks: int) -> None:
        super().__init__(
            f"the work and one start need {needed_ticks} ticks, the deadline leaves {deadline_ticks}"
        )
        self.needed_ticks = needed_ticks
        self.deadline_ticks = deadline_ticks


class SpotChoice(Protocol):
    """Chooses an instance for each job."""

    def __call__(self, states: JobStates) -> Integers:
        """Returns `Instance` numbers; spot where there is none counts as nothing."""
        ...


def choice_for(policy: SpotPolicy, terms: SpotTerms, plan: CostToGo | None = None) -> SpotChoice:
    """Returns a policy by name; the default needs a plan.

    Raises:
        ValueError: The default policy was asked for without a plan.
    """
    if policy is SpotPolicy.DEFAULT:
        if plan is None:
            raise ValueError("the default policy needs a plan")
        return Forecast(plan)
    return _PEERS[policy](terms)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Takes what is expected to cost least until the deadline, given how long runs last here."""

    plan: CostToGo

    def __call__(self, states: JobStates) -> Integers:
        """Compares idling, spot and on-demand."""
        chosen = np.asarray(np.argmin(self.plan.action_costs(states), axis=1), np.int64)
        return within_budget(chosen, states, self.plan.terms)


@dataclass(frozen=True, slots=True)
class Steady:
    """Always asks for one kind of instance."""

    instance: Instance

    def __call__(self, states: JobStates) -> Integers:
        """Returns that kind for every job."""
        return np.full(len(states.available), int(self.instance), np.int64)


class Greedy:
    """Takes spot whenever there is some and goes on demand at the last moment, for good."""

    def __call__(self, states: JobStates) -> Integers:
        """Stays on demand once there."""
        return np.where(states.instance == Instance.ON_DEMAND, Instance.ON_DEMAND, Instance.SPOT)


@dataclass(frozen=True, slots=True)
class UniformProgress:
    """Keeps to the straight line from start to deadline: spot if there is some, else on demand if behind."""

    terms: SpotTerms

    def __call__(self, states: JobStates) -> Integers:
        """Leaves on-demand for idling once two changeovers ahead of the line."""
        done = self.terms.work_ticks - states.work_left
        deadline = states.elapsed_ticks + states.ticks_left
        pace = self.terms.work_ticks / deadline
        running = states.instance == Instance.ON_DEMAND
        ahead = 2 * self.terms.changeover_ticks * running
        behind = done < (states.elapsed_ticks + ahead) * pace
        waiting = np.where(behind, Instance.ON_DEMAND, Instance.NONE)
        return np.where(states.available, Instance.SPOT, waiting)


def within_deadline(
    chosen: Integers, states: JobStates, terms: SpotTerms, *, fall_back: bool = True
) -> Integers:
    """Returns what runs: on-demand where anything else would be too late, nothing for finished jobs."""
    action = np.where((chosen == Instance.SPOT) & ~states.available, Instance.NONE, chosen)
    if fall_back:
        ready = (states.changeover_left == 0) & (states.instance == Instance.SPOT)
        progress = (action == Instance.SPOT) & (ready | (terms.changeover_ticks == 0))
        left = states.work_left - progress
        late = (left > 0) & (left + terms.changeover_ticks > states.ticks_left - 1)
        action = np.where(late, Instance.ON_DEMAND, action)
    return np.asarray(np.where(states.work_left > 0, action, Instance.NONE), np.int64)


def within_budget(
    chosen: Integers, states: JobStates, terms: SpotTerms, extra: Floats | float = 0.0
) -> Integers:
    """Returns what runs: on-demand where anything else might end up too dear for all spot that comes or not.

    What a job has paid and would pay to finish on demand may exceed the price of on-demand alone by no more
    than its stake. Leaving on-demand to wait is not worth a stake: only what was saved may pay for coming
    back. `extra` is what a choice costs besides.
    """
    spot = chosen == Instance.SPOT
    ready = (states.changeover_left == 0) & (states.instance == Instance.SPOT)
    progress = spot & (ready | (terms.changeover_ticks == 0))
    total = (
        states.paid + extra + spot * terms.spot_ratio + states.work_left - progress + terms.changeover_ticks
    )
    most = terms.work_ticks + terms.changeover_ticks + np.where(spot, stake(terms), 0.0)
    waits = (chosen == Instance.NONE) & (states.instance != Instance.ON_DEMAND)
    affordable = waits | (chosen == Instance.ON_DEMAND) | (total <= most + _ROUNDING)
    return np.asarray(np.where(affordable, chosen, Instance.ON_DEMAND), np.int64)


def stake(terms: SpotTerms) -> float:
    """Returns by how many ticks on demand a job may be dearer than on demand: one start at least."""
    alone = terms.work_ticks + terms.changeover_ticks
    return max(_STAKE * alone, terms.changeover_ticks * terms.spot_ratio)


_PEERS: dict[SpotPolicy, Callable[[SpotTerms], SpotChoice]] = {
    SpotPolicy.ON_DEMAND: lambda _: Steady(Instance.ON_DEMAND),
    SpotPolicy.SPOT_ONLY: lambda _: Steady(Instance.SPOT),
    SpotPolicy.GREEDY: lambda _: Greedy(),
    SpotPolicy.UNIFORM_PROGRESS: UniformProgress,
}
