"""Expected cost to finish by a deadline on spot and on-demand machines: dynamic programming over a forecast.

A tick on demand costs one. Spot may be taken back before its changeover is over, so each tick of that is a
state of its own; a start on demand cannot fail and adds the changeover to the work left, which bills it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from mltrainer_scheduling.jobs import Flags, Floats, Integers
from mltrainer_scheduling.spot_forecast import PHASES, AvailabilityModel, beliefs


class Instance(IntEnum):
    """What a job runs on during a tick; numbers, because they index arrays."""

    NONE = 0
    SPOT = 1
    ON_DEMAND = 2


_STARTED = 3


class PriceError(ValueError):
    """A price is missing, not a number, zero or below; nothing can be promised without it."""


@dataclass(frozen=True, slots=True)
class SpotTerms:
    """Job and market, in ticks; `spot_ratio` is the price of spot over that of on-demand.

    Raises:
        PriceError: The ratio cannot come from two prices.
    """

    work_ticks: int
    changeover_ticks: int
    spot_ratio: float

    def __post_init__(self) -> None:
        if not (isfinite(self.spot_ratio) and self.spot_ratio > 0.0):
            raise PriceError(f"spot over on-demand is {self.spot_ratio}, no number above zero")


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
        paid: What each job has cost so far, in ticks on demand.
    """

    elapsed_ticks: int
    ticks_left: int
    available: Flags
    age: Integers
    instance: Integers
    work_left: Integers
    changeover_left: Integers
    model: Integers
    paid: Floats


@dataclass(frozen=True, slots=True)
class CostToGo:
    """Expected cost after a tick, by what is done in it.

    `ahead[ticks left // 2, model, phase, column, work left // step]` holds every second tick; between them it
    is read one tick and one unit of work earlier, where the slack is the same. The columns are the instances,
    and last spot after the first tick of its changeover.
    """

    terms: SpotTerms
    step: int
    ahead: NDArray[np.float32]
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
        phase = np.where(up, 0, 2)
        costs = np.full((len(model), len(Instance)), np.inf)
        for action, price in zip(Instance, (0.0, self.terms.spot_ratio, 1.0), strict=True):
            short, long = (self._after(states, phase + tail, action) for tail in (0, 1))
            costs[:, action] = price + belief[:, 0] * short + belief[:, 1] * long
        costs[~up, Instance.SPOT] = np.inf
        return costs

    def _after(self, states: JobStates, phase: Integers, action: Instance) -> Floats:
        work, lead = states.work_left, self.terms.changeover_ticks
        left = np.where(states.instance == action, states.changeover_left, lead)
        match action:
            case Instance.NONE:
                return self._read(states, phase, action, work)
            case Instance.ON_DEMAND:
                return self._read(states, phase, action, np.maximum(work + left - 1, 0))
            case Instance.SPOT:
                ready = self._read(states, phase, action, np.where(left > 0, work, np.maximum(work - 1, 0)))
                if lead <= 1:
                    return ready
                started = self._read(states, phase, _STARTED, work)
                return np.asarray(ready + (started - ready) * np.maximum(left - 1, 0) / (lead - 1))
        assert_never(action)

    def _read(self, states: JobStates, phase: Integers, column: int, left: Integers) -> Floats:
        tick = min(max(states.ticks_left - 1, 0), 2 * len(self.ahead) - 1)
        place = np.clip((left - tick % 2) / self.step, 0, self.ahead.shape[-1] - 1.001)
        low = place.astype(np.int64)
        share = place - low
        rows = (tick // 2, states.model, phase, int(column))
        return np.asarray(self.ahead[(*rows, low)] * (1.0 - share) + self.ahead[(*rows, low + 1)] * share)


def plan_costs(
    models: Sequence[AvailabilityModel], terms: SpotTerms, deadline_ticks: int, *, points: int = 450
) -> CostToGo:
    """Solves for every model at once, backwards from the deadline, on a grid of so many amounts of work."""
    step = max(1, round(terms.work_ticks / points))
    grid = np.arange(-(-(terms.work_ticks + 2 * terms.changeover_ticks) // step) + 2) * step
    chances = np.array([model.transitions() for model in models])
    columns = len(Instance) + terms.changeover_ticks
    value = _late(np.zeros((len(models), PHASES, columns, len(grid))), grid, 0, terms)
    kept = [*Instance, _STARTED + terms.changeover_ticks - 2 if terms.changeover_ticks > 1 else Instance.SPOT]
    ahead = np.empty((deadline_ticks // 2 + 1, len(models), PHASES, len(kept), len(grid)), np.float32)
    for ticks in range(deadline_ticks + 1):
        expected = (chances @ value.reshape(len(models), PHASES, -1)).reshape(value.shape)
        if ticks % 2 == 0:
            ahead[ticks // 2] = expected[:, :, kept]
        value = _late(_step_back(expected, terms, step), grid, ticks + 1, terms)
    lengths = (
        np.array([getattr(model, name) for model in models])
        for name in ("up_ticks", "up_share", "down_ticks", "down_share")
    )
    return CostToGo(terms, step, ahead, *lengths)


def _step_back(expected: Floats, terms: SpotTerms, step: int) -> Floats:
    """Takes the best action of one tick, given what is expected after it.

    Column `_STARTED + k` is spot with k + 1 ticks of its changeover left.
    """
    idle, run = expected[:, :, Instance.NONE], expected[:, :, Instance.SPOT : _STARTED].copy()
    run[..., 1:] -= (run[..., 1:] - expected[:, :, Instance.SPOT : _STARTED, :-1]) / step
    run[..., 0] = 0.0
    run += np.array([terms.spot_ratio, 1.0])[:, None]
    keep_spot, keep_on_demand = run[:, :, 0], run[:, :, 1]
    start_on_demand = _with_changeover(keep_on_demand, terms.changeover_ticks, step)
    wait = np.minimum(idle, start_on_demand)
    value = np.empty_like(expected)
    value[:, :, Instance.SPOT] = keep_spot
    if terms.changeover_ticks:
        value[:, :, _STARTED] = terms.spot_ratio + expected[:, :, Instance.SPOT]
        value[:, :, _STARTED + 1 :] = terms.spot_ratio + expected[:, :, _STARTED:-1]
    start_spot = value[:, :, -1 if terms.changeover_ticks else Instance.SPOT].copy()
    start_spot[:, 2:] = np.inf
    value[:, :2] = np.minimum(value[:, :2], wait[:, :2, None])
    value[:, :, Instance.NONE] = np.minimum(wait, start_spot)
    value[:, :, Instance.ON_DEMAND] = np.minimum(keep_on_demand, np.minimum(idle, start_spot))
    value[:, 2:, Instance.SPOT] = value[:, 2:, Instance.NONE]
    value[:, 2:, _STARTED:] = value[:, 2:, Instance.NONE, None]
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
    for column in range(value.shape[2]):
        needed = grid + (0 if column == Instance.ON_DEMAND else terms.changeover_ticks)
        late = needed > ticks_left
        value[:, :, column, late] = needed[late] + (needed[late] - ticks_left)
    value[..., 0] = 0.0
    return value
