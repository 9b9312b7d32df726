"""Spot across zones: the same cost-to-go per zone, plus what it costs to take the checkpoint elsewhere.

A zone's plan supposes that the job stays there for good; it is asked again every tick, so that the next move
remains open. Moves are weighed only when the job starts an instance: a healthy one is never left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mltrainer_scheduling.jobs import Flags, Floats, Integers
from mltrainer_scheduling.spot import within_budget, within_deadline
from mltrainer_scheduling.spot_plan import CostToGo, Instance, JobStates, SpotTerms
from mltrainer_scheduling.spot_simulation import SpotJobs, check_deadline


@dataclass(frozen=True, slots=True)
class ZoneRuns:
    """What each job cost, in ticks on demand, egress included, and how often it moved."""

    cost: Floats
    missed: Flags
    moves: Integers
    on_demand_ticks: Integers


def simulate_zones(
    zones: Mapping[str, SpotJobs],
    plans: Mapping[str, CostToGo],
    terms: SpotTerms,
    deadline_ticks: int,
    *,
    egress_ticks: float,
) -> ZoneRuns:
    """Runs every job over all zones; it begins where that looks cheapest and pays egress for later moves.

    Raises:
        DeadlineTooShortError: Not even on-demand would finish in time.
        ValueError: There is no zone, or egress below zero.
    """
    check_deadline(terms, deadline_ticks)
    if not zones or egress_ticks < 0:
        raise ValueError("spot needs a zone, and egress is no gain")
    market = _Market(
        list(zones.values()), [plans[name] for name in zones], terms, deadline_ticks, egress_ticks
    )
    run = _ZoneRun.begin(len(market.zones[0].available), terms.work_ticks)
    for tick in range(deadline_ticks):
        if not run.work.any():
            break
        _tick(run, market, tick)
    return ZoneRuns(run.cost, run.work > 0, run.moves, run.on_demand)


@dataclass(frozen=True, slots=True)
class _Market:
    zones: Sequence[SpotJobs]
    plans: Sequence[CostToGo]
    terms: SpotTerms
    deadline_ticks: int
    egress_ticks: float


@dataclass(slots=True)
class _ZoneRun:
    """The jobs on their way; `zone` is -1 until a job first starts."""

    work: Integers
    zone: Integers
    instance: Integers
    changeover: Integers
    cost: Floats
    moves: Integers
    on_demand: Integers

    @classmethod
    def begin(cls, size: int, work_ticks: int) -> "_ZoneRun":
        zeros = [np.zeros(size, np.int64) for _ in range(4)]
        return cls(
            np.full(size, work_ticks),
            np.full(size, -1),
            zeros[0],
            zeros[1],
            np.zeros(size),
            zeros[2],
            zeros[3],
        )

    def states(self, market: _Market, jobs: SpotJobs, tick: int, available: Flags) -> JobStates:
        return JobStates(
            tick,
            market.deadline_ticks - tick,
            available,
            jobs.age[:, tick],
            self.instance,
            self.work,
            self.changeover,
            jobs.model[:, tick],
            self.cost,
        )


def _tick(run: _ZoneRun, market: _Market, tick: int) -> None:
    rows = np.arange(len(run.work))
    available = np.array([zone.available[:, tick] for zone in market.zones])
    lost = (run.instance == Instance.SPOT) & ~available[run.zone, rows]
    run.instance = np.where(lost, Instance.NONE, run.instance)
    run.changeover = np.where(lost, 0, run.changeover)
    zone, chosen = _cheapest(run, market, tick)
    states = run.states(market, market.zones[0], tick, available[zone, rows])
    moves = (zone != run.zone) & (run.zone >= 0)
    action = within_budget(chosen, states, market.terms, extra=market.egress_ticks * moves)
    action = within_deadline(action, states, market.terms)
    zone = np.where((action != chosen) & (run.zone >= 0), run.zone, zone)
    started = (action != Instance.NONE) & (action != run.instance)
    moved = started & (zone != run.zone) & (run.zone >= 0)
    run.zone = np.where(started, zone, run.zone)
    run.changeover = np.where(started, market.terms.changeover_ticks, run.changeover)
    run.cost += np.array([0.0, market.terms.spot_ratio, 1.0])[action] + market.egress_ticks * moved
    run.moves += moved
    run.on_demand += action == Instance.ON_DEMAND
    run.work = run.work - ((action != Instance.NONE) & (run.changeover == 0))
    run.changeover = np.maximum(run.changeover - (action != Instance.NONE), 0)
    run.instance = np.where(run.work > 0, action, Instance.NONE)


def _cheapest(run: _ZoneRun, market: _Market, tick: int) -> tuple[Integers, Integers]:
    """Returns for each job the zone and the instance of least expected cost."""
    size = len(run.work)
    best = np.full(size, np.inf)
    zone, action = np.maximum(run.zone, 0), np.full(size, int(Instance.NONE))
    for number, (jobs, plan) in enumerate(zip(market.zones, market.plans, strict=True)):
        home = (run.zone == number) | (run.zone < 0)
        costs = plan.action_costs(run.states(market, jobs, tick, jobs.available[:, tick]))
        costs[~home] += market.egress_ticks
        costs[~home & (run.instance == Instance.SPOT)] = np.inf
        costs[~home, Instance.NONE] = np.inf
        cheapest = costs.min(axis=1)
        better = cheapest < best
        best = np.where(better, cheapest, best)
        zone = np.where(better, number, zone)
        action = np.where(better, np.argmin(costs, axis=1), action)
    return zone, action
