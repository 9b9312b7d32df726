"""Many jobs over recorded zones: saving, distance from the offline optimum and missed deadlines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mltrainer_scheduling.jobs import Flags, Floats, Integers
from mltrainer_scheduling.spot import SpotPolicy
from mltrainer_scheduling.spot_plan import CostToGo, SpotTerms, plan_costs
from mltrainer_scheduling.spot_simulation import (
    SpotJobs,
    check_deadline,
    jobs_in_zone,
    offline_costs,
    plan_for,
    simulate_spot,
)
from mltrainer_scheduling.spot_zones import simulate_zones

# A plan per zone is held at once when jobs may move, so each is coarser.
_POINTS_PER_ZONE = 110


class SeriesTooShortError(ValueError):
    """A zone was not watched for as long as a job may take."""


@dataclass(frozen=True, slots=True)
class SpotTrial:
    """Costs in ticks on demand, a row per job, of one policy under one deadline.

    Attributes:
        policy: Who chose.
        deadline_slack: Time until the deadline over time of work.
        zone: Where each job ran; -1 where it might move.
        cost: What each job paid.
        offline: What it would have paid had the future been known; not a number where jobs may move.
        on_demand: What it would have paid on demand.
        missed: Whether it missed its deadline.
    """

    policy: SpotPolicy
    deadline_slack: float
    zone: Integers
    cost: Floats
    offline: Floats
    on_demand: float
    missed: Flags

    @property
    def saving(self) -> float:
        """Saved against on-demand, as a share."""
        return 1.0 - float(self.cost.mean()) / self.on_demand

    @property
    def above_offline(self) -> float:
        """Paid above the offline optimum, as a share of it."""
        return float(self.cost.mean()) / float(self.offline.mean()) - 1.0

    @property
    def dearest_zone(self) -> float:
        """Mean cost in the worst zone over that of on-demand."""
        return max(float(self.cost[self.zone == zone].mean()) for zone in set(self.zone)) / self.on_demand


def job_starts(ticks: int, longest: int, jobs: int, random: np.random.Generator) -> list[int]:
    """Draws starts such that every job ends inside the series.

    Raises:
        SeriesTooShortError: No job would.
    """
    if longest > ticks:
        raise SeriesTooShortError(f"a job may take {longest} ticks, the series has {ticks}")
    return sorted(int(start) for start in random.integers(0, ticks - longest + 1, jobs))


def try_zone_by_zone(
    zones: Mapping[str, Flags],
    terms: SpotTerms,
    slacks: Sequence[float],
    policies: Sequence[SpotPolicy],
    *,
    jobs_per_zone: int = 40,
    seed: int = 0,
) -> list[SpotTrial]:
    """Runs equal jobs under each policy, each staying in its zone; forecasts know the zone's past only.

    Raises:
        DeadlineTooShortError: Not even on-demand would finish in time.
        SeriesTooShortError: A zone was not watched for long enough.
    """
    deadlines = [int(slack * terms.work_ticks) for slack in slacks]
    check_deadline(terms, min(deadlines))
    found: dict[tuple[SpotPolicy, float], list[tuple[Floats, Floats, Flags]]] = {}
    for number, series in enumerate(zones.values()):
        random = np.random.default_rng((seed, number))
        starts = job_starts(len(series), max(deadlines), jobs_per_zone, random)
        jobs, models = jobs_in_zone(series, starts, max(deadlines))
        plans = {policy: plan_for(policy, models, terms, max(deadlines)) for policy in policies}
        for slack, deadline in zip(slacks, deadlines, strict=True):
            least = offline_costs(jobs.available, terms, deadline)
            for policy in policies:
                runs = simulate_spot(jobs, terms, deadline, policy, plans[policy])
                found.setdefault((policy, slack), []).append((runs.cost, least, runs.missed))
    zone = np.repeat(np.arange(len(zones)), jobs_per_zone)
    return [
        SpotTrial(
            policy, slack, zone, *_columns(parts), _on_demand(terms), np.concatenate([p[2] for p in parts])
        )
        for (policy, slack), parts in found.items()
    ]


def try_across_zones(
    zones: Mapping[str, Flags],
    terms: SpotTerms,
    slacks: Sequence[float],
    *,
    egress_ticks: float,
    jobs: int = 360,
    seed: int = 0,
) -> list[SpotTrial]:
    """Runs jobs under the default policy that may move to any zone, at a price.

    Raises:
        DeadlineTooShortError: Not even on-demand would finish in time.
        SeriesTooShortError: A zone was not watched for long enough.
    """
    deadlines = [int(slack * terms.work_ticks) for slack in slacks]
    check_deadline(terms, min(deadlines))
    shortest = min(len(series) for series in zones.values())
    starts = job_starts(shortest, max(deadlines), jobs, np.random.default_rng(seed))
    cut: dict[str, SpotJobs] = {}
    plans: dict[str, CostToGo] = {}
    for name, series in zones.items():
        cut[name], models = jobs_in_zone(series[:shortest], starts, max(deadlines))
        plans[name] = plan_costs(models, terms, max(deadlines), points=_POINTS_PER_ZONE)
    trials = []
    for slack, deadline in zip(slacks, deadlines, strict=True):
        runs = simulate_zones(cut, plans, terms, deadline, egress_ticks=egress_ticks)
        anywhere, unknown = np.full(jobs, -1), np.full(jobs, np.nan)
        trials.append(
            SpotTrial(SpotPolicy.DEFAULT, slack, anywhere, runs.cost, unknown, _on_demand(terms), runs.missed)
        )
    return trials


def _columns(parts: Sequence[tuple[Floats, Floats, Flags]]) -> tuple[Floats, Floats]:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _on_demand(terms: SpotTerms) -> float:
    return float(terms.work_ticks + terms.changeover_ticks)
