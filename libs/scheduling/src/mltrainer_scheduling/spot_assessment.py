"""What a job is expected to cost and when it will finish, before it is launched."""

from dataclasses import dataclass
from math import ceil, floor, isfinite

import numpy as np

from mltrainer_scheduling.jobs import Floats, Integers
from mltrainer_scheduling.spot import Forecast, SpotChoice, Steady
from mltrainer_scheduling.spot_forecast import learn_availability, run_ages
from mltrainer_scheduling.spot_plan import Instance, PriceError, SpotTerms, plan_costs
from mltrainer_scheduling.spot_simulation import SpotJobs, play

_PATHS = 200
_GRID_POINTS = 110
_LONGEST_TICKS = 2_000
_SECONDS_PER_HOUR = 3_600.0


@dataclass(frozen=True, slots=True)
class SpotJob:
    """Work that is left on one machine, until when it must be done, and what each start costs in time."""

    work_s: float
    deadline_s: float
    changeover_s: float = 390.0


@dataclass(frozen=True, slots=True)
class SpotPrices:
    """USD per hour of one machine; None for spot that is not offered and on-demand that is not allowed."""

    on_demand_usd_per_hour: float | None
    spot_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class AvailabilityHistory:
    """Whether spot was to be had in one zone, oldest tick first; empty where nobody watched."""

    available: tuple[bool, ...] = ()
    tick_s: float = 195.0


@dataclass(frozen=True, slots=True)
class Assessment:
    """What to expect; seconds count from now, and the intervals hold nine of ten forecasts.

    Attributes:
        expected_usd: Mean price.
        low_usd: Only one forecast in twenty is cheaper.
        high_usd: Only one forecast in twenty is dearer.
        on_demand_usd: Price of doing it all on demand, if that may be used.
        miss_risk: Chance of missing the deadline: 0 where the on-demand fallback can still make it, 1 where
            there is too little time for any machine.
        earliest_finish_s: Only one forecast in twenty finishes before.
        latest_finish_s: Only one forecast in twenty finishes later; infinite if that one misses it.
        on_demand_share: Expected share of paid time on demand.
    """

    expected_usd: float
    low_usd: float
    high_usd: float
    on_demand_usd: float | None
    miss_risk: float
    earliest_finish_s: float
    latest_finish_s: float
    on_demand_share: float


def assess(job: SpotJob, prices: SpotPrices, history: AvailabilityHistory, *, seed: int = 0) -> Assessment:
    """Plays the default policy through availability drawn from the zone's forecast.

    Equal arguments give equal answers. It takes about a second for days of work, less for hours.

    Raises:
        PriceError: A price that is needed is missing, not a number, zero or below.
        ValueError: A duration is negative or not a number, or the work is nothing.
    """
    _check(job, prices, history)
    tick_s = max(history.tick_s, job.deadline_s / _LONGEST_TICKS)
    needed_s = job.work_s + job.changeover_s
    if needed_s > job.deadline_s:
        return _hopeless(needed_s, prices)
    if not _spot_is_worth_it(prices):
        return _certain(needed_s, prices.on_demand_usd_per_hour)
    return _forecast(job, prices, history, tick_s, seed)


def _forecast(
    job: SpotJob, prices: SpotPrices, history: AvailabilityHistory, tick_s: float, seed: int
) -> Assessment:
    spot, on_demand = prices.spot_usd_per_hour or 0.0, prices.on_demand_usd_per_hour
    dearest = on_demand or spot
    ratio = spot / dearest
    deadline = floor(job.deadline_s / tick_s)
    changeover = ceil(job.changeover_s / tick_s)
    work = min(ceil(job.work_s / tick_s), deadline - changeover)
    terms = SpotTerms(max(1, work), changeover, ratio)
    model = learn_availability(
        np.array(history.available, np.bool_)[:: max(1, round(tick_s / history.tick_s))]
    )
    series = model.sample(_PATHS, deadline, np.random.default_rng(seed), _now(history))
    none = np.zeros(0, np.bool_)
    ages = np.array([run_ages(path, none) for path in series]).reshape(series.shape)
    choose: SpotChoice = Steady(Instance.SPOT)
    if on_demand is not None:
        choose = Forecast(plan_costs([model], terms, deadline, points=_GRID_POINTS))
    jobs = SpotJobs(series, ages, np.zeros(series.shape, np.int64))
    runs = play(jobs, terms, deadline, choose, fall_back=on_demand is not None)
    usd = runs.cost * tick_s / _SECONDS_PER_HOUR * dearest
    finish = np.where(runs.missed, np.inf, runs.finish_tick * tick_s)
    low, high = np.quantile(usd, (0.05, 0.95))
    first, last = np.quantile(finish, (0.05, 0.95), method="nearest")
    return Assessment(
        expected_usd=float(usd.mean()),
        low_usd=float(low),
        high_usd=float(high),
        on_demand_usd=None if on_demand is None else _usd(job.work_s + job.changeover_s, on_demand),
        miss_risk=float(runs.missed.mean()),
        earliest_finish_s=float(first),
        latest_finish_s=float(last),
        on_demand_share=_share_on_demand(runs.cost, runs.on_demand_ticks, ratio),
    )


def _share_on_demand(cost: Floats, ticks: Integers, ratio: float) -> float:
    paid = ticks + (cost - ticks) / ratio
    return float(ticks.sum() / paid.sum()) if paid.sum() else 0.0


def _now(history: AvailabilityHistory) -> bool | None:
    return history.available[-1] if history.available else None


def _spot_is_worth_it(prices: SpotPrices) -> bool:
    spot, on_demand = prices.spot_usd_per_hour, prices.on_demand_usd_per_hour
    return spot is not None and (on_demand is None or spot < on_demand)


def _certain(needed_s: float, on_demand: float | None) -> Assessment:
    price = _usd(needed_s, on_demand or 0.0)
    return Assessment(price, price, price, price, 0.0, needed_s, needed_s, 1.0)


def _hopeless(needed_s: float, prices: SpotPrices) -> Assessment:
    price = _usd(needed_s, prices.on_demand_usd_per_hour or prices.spot_usd_per_hour or 0.0)
    known = None if prices.on_demand_usd_per_hour is None else price
    return Assessment(price, price, price, known, 1.0, needed_s, float("inf"), 1.0)


def _usd(seconds: float, usd_per_hour: float) -> float:
    return seconds / _SECONDS_PER_HOUR * usd_per_hour


def _check(job: SpotJob, prices: SpotPrices, history: AvailabilityHistory) -> None:
    durations = (job.work_s, job.deadline_s, job.changeover_s, history.tick_s)
    if not all(isfinite(duration) and duration >= 0 for duration in durations):
        raise ValueError(f"a duration is negative or not a number: {job}")
    if job.work_s == 0 or history.tick_s == 0:
        raise ValueError("there is no work, or no time between observations")
    given = [
        price for price in (prices.on_demand_usd_per_hour, prices.spot_usd_per_hour) if price is not None
    ]
    if not given or not all(isfinite(price) and price > 0 for price in given):
        raise PriceError(f"a price is missing, not a number, zero or below: {prices}")
