"""Expected cost to finish by a deadline on spot and on-demand machines: dynamic programming over a forecast.

A tick on demand costs one. A start of either kind adds the changeover to the work left, which bills it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from mltrainer_scheduling.jobs import Flags, Floats, Integers
from mltrainer_scheduling.spot_forecast import PHASES, AvailabilityModel, beliefs


class Instance(IntEnum):
    """What a job runs on during a tick; numbers, because they index arrays."""

    NONE = 0
    SPOT = 1
    ON_DEMAND = 2


@dataclass(frozen=True, slots=True)
class SpotTerms:
    """Job and market, in ticks; `spot_ratio` is the price of spot over that of on-demand."""

    work_ticks: int
    changeover_ticks: int
    spot_ratio: float


@dataclass(frozen=True, slots=True)
class JobStates:
    """What a policy may know at the start of a tick.

    Attributes:
        elapsed_ticks: Since the jobs started.
        ticks_left: Until their deadline, this tick included.
        available: Whether spot can be had in this tick.
        age: For how many ticks it has been so, this one included.
        instance: What each job ran on in the last tick; `Instance.NONE` where spot was taken back.
        work_left: Ticks of work.
        changeover_left: Ticks until the instance begins to make progress.
        model: Row of the forecast in the plan.
    """

    elapsed_ticks: int
    ticks_left: int
    available: Flags
    age: Integers
    instance: Integers
    work_left: Integers
    changeover_left: Integers
    model: Integers


@dataclass(frozen=True, slots=True)
class CostToGo:
    """Expected cost after a tick, by what is done in it.

    `ahead[ticks left // 2, model, phase, instance, work left // step]` holds every second tick; between them
    it is read one tick and one unit of work earlier, where the slack is the same.
    """

    terms: SpotTerms
    step: int
    ahead: Floats
    up_ticks: Floats
    up_share: Floats
    down_ticks: Floats
    down_share: Floats

    def action_costs(self, states: JobStates) -> Floats:
        """Returns the expected cost to the end of idling, spot and on-demand now; a row per job."""
        up, model = states.available, states.model
        belief = beliefs(
            np.where(up[:, None], self.up_ticks[model], self.down_ticks[model]),
            np.where(up[:, None], self.up_share[model], self.down_share[model]),
            states.age,
        )
        costs = np.full((len(model), len(Instance)), np.inf)
        for action, price in zip(Instance, (0.0, self.terms.spot_ratio, 1.0), strict=True):
            start = np.where(states.instance == action, states.changeover_left, self.terms.changeover_ticks)
            billed = np.maximum(states.work_left + start - 1, 0)
            left = states.work_left if action is Instance.NONE else billed
            short, long = (self._read(states, np.where(up, 0, 2) + tail, action, left) for tail in (0, 1))
            costs[:, action] = price + belief[:, 0] * short + belief[:, 1] * long
        costs[~up, Instance.SPOT] = np.inf
        return costs

    def _read(self, states: JobStates, phase: Integers, action: Instance, left: Integers) -> Floats:
        tick = min(max(states.ticks_left - 1, 0), 2 * len(self.ahead) - 1)
        place = np.clip((left - tick % 2) / self.step, 0, self.ahead.shape[-1] - 1.001)
        low = place.astype(np.int64)
        share = place - low
        rows = (tick // 2, states.model, phase, int(action))
        return np.asarray(self.ahead[(*rows, low)] * (1.0 - share) + self.ahead[(*rows, low + 1)] * share)


def plan_costs(
    models: Sequence[AvailabilityModel], terms: SpotTerms, deadline_ticks: int, *, points: int = 450
) -> CostToGo:
    """Solves for every model at once, backwards from the deadline, on a grid of so many amounts of work."""
    step = max(1, round(terms.work_ticks / points))
    grid = np.arange(-(-(terms.work_ticks + 2 * terms.changeover_ticks) // step) + 2) * step
    chances = np.array([model.transitions() for model in models])
    value = _late(np.zeros((len(models), PHASES, len(Instance), len(grid))), grid, 0, terms)
    ahead = np.empty((deadline_ticks // 2 + 1, *value.shape), np.float32)
    for ticks in range(deadline_ticks + 1):
        expected = (chances @ value.reshape(len(models), PHASES, -1)).reshape(value.shape)
        if ticks % 2 == 0:
            ahead[ticks // 2] = expected
        value = _late(_step_back(expected, terms, step), grid, ticks + 1, terms)
    lengths = (
        np.array([getattr(model, name) for model in models])
        for name in ("up_ticks", "up_share", "down_ticks", "down_share")
    )
    return CostToGo(terms, step, ahead, *lengths)


def _step_back(expected: Floats, terms: SpotTerms, step: int) -> Floats:
    """Takes the best action of one tick, given what is expected after it."""
    idle, run = expected[:, :, Instance.NONE], expected[:, :, Instance.SPOT :].copy()
    run[..., 1:] -= (run[..., 1:] - expected[:, :, Instance.SPOT :, :-1]) / step
    run[..., 0] = 0.0
    run += np.array([terms.spot_ratio, 1.0])[:, None]
    start = _with_changeover(run, terms.changeover_ticks, step)
    keep_spot, keep_on_demand = run[:, :, 0], run[:, :, 1]
    start_spot, start_on_demand = start[:, :, 0].copy(), start[:, :, 1]
    start_spot[:, 2:] = np.inf
    value = np.empty_like(expected)
    value[:, :, Instance.NONE] = np.minimum(idle, np.minimum(start_spot, start_on_demand))
    value[:, :, Instance.ON_DEMAND] = np.minimum(keep_on_demand, np.minimum(idle, start_spot))
    value[:, :, Instance.SPOT] = value[:, :, Instance.NONE]
    value[:, :2, Instance.SPOT] = np.minimum(keep_spot, np.minimum(idle, start_on_demand))[:, :2]
    return value


def _with_changeover(cost: Floats, changeover_ticks: int, step: int) -> Floats:
    """Reads the costs at that much more work; beyond the grid they go on as they end."""
    whole, part = divmod(changeover_ticks, step)
    size = cost.shape[-1]
    slope = cost[..., -1:] - cost[..., -2:-1]
    longer = np.concatenate([cost, cost[..., -1:] + slope * np.arange(1, whole + 2)], axis=-1)
    share = part / step
    return np.asarray(
        longer[..., whole : whole + size] * (1 - share) + longer[..., whole + 1 : whole + 1 + size] * share
    )


def _late(value: Floats, grid: Integers, ticks_left: int, terms: SpotTerms) -> Floats:
    """Charges what no longer fits twice, so that plans keep away from states the fallback would not save."""
    for instances, start in ((slice(0, 2), terms.changeover_ticks), (slice(2, 3), 0)):
        needed = grid + start
        late = needed > ticks_left
        value[:, :, instances, late] = needed[late] + (needed[late] - ticks_left)
    value[..., 0] = 0.0
    return value
