"""What was seen of spot: for each pool the runs of time in which it was to be had, or was not."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mltrainer_scheduling.spot_assessment import AvailabilityHistory

from mltrainer_scheduler.domain.cluster import NodeReport

TICK = timedelta(seconds=60)
RETENTION = timedelta(days=14)
MOST_RUNS = 512
"""Of one pool."""
MOST_POOLS = 64
# After a longer time without a look nothing is known of it.
_WATCHED_WITHIN = 3 * TICK
_SECONDS_PER_HOUR = 3_600.0


@dataclass(frozen=True, slots=True, order=True)
class Pool:
    """Spot machines that come and go together: those of a zone with one type of GPU."""

    zone: str
    gpu_type: str


@dataclass(frozen=True, slots=True)
class SpotRun:
    """From the first to the last look that found the same."""

    pool: Pool
    begin_time: datetime
    end_time: datetime
    available: bool


def pools_of(nodes: Iterable[NodeReport], silent: Collection[str]) -> dict[Pool, bool]:
    """Returns for each pool whether a node of it can be used now; of too many pools the first by name."""
    seen: dict[Pool, bool] = {}
    for node in nodes:
        if node.spot:
            pool = Pool(node.zone, node.gpu_type)
            usable = node.schedulable and node.name not in silent
            seen[pool] = seen.get(pool, False) or usable
    return dict(sorted(seen.items())[:MOST_POOLS])


def observed(last: Mapping[Pool, SpotRun], seen: Mapping[Pool, bool], now: datetime) -> list[SpotRun]:
    """Returns the runs that a look makes longer or begins; before the last look nothing is seen again."""
    runs = []
    for pool, available in seen.items():
        run = last.get(pool)
        if run is None:
            runs.append(SpotRun(pool, now, now, available))
        elif now > run.end_time:
            goes_on = run.available is available and now - run.end_time <= _WATCHED_WITHIN
            runs.append(replace(run, end_time=now) if goes_on else SpotRun(pool, now, now, available))
    return runs


def history_of(runs: Iterable[SpotRun]) -> AvailabilityHistory:
    """Returns the looks of one pool, oldest run first; times that nobody watched are left out."""
    looks: list[bool] = []
    for run in runs:
        looks += [run.available] * (1 + round((run.end_time - run.begin_time) / TICK))
    return AvailabilityHistory(tuple(looks), TICK.total_seconds())


def scarcest(runs: Iterable[SpotRun], pools: Collection[Pool]) -> AvailabilityHistory:
    """Returns the history of that pool of a gang which is there least; nothing where one is unknown."""
    by_pool: dict[Pool, list[SpotRun]] = {pool: [] for pool in pools}
    for run in runs:
        by_pool[run.pool].append(run)
    histories = [history_of(mine) for mine in by_pool.values()]
    return min(histories, key=_share, default=AvailabilityHistory())


def told(history: AvailabilityHistory) -> str:
    """Says in words what a forecast was learned from."""
    if not history.available:
        return "nobody has watched its spot machines yet"
    hours = len(history.available) * history.tick_s / _SECONDS_PER_HOUR
    return f"spot was there in {_share(history):.0%} of {hours:.1f} h watched"


def _share(history: AvailabilityHistory) -> float:
    looks = history.available
    return sum(looks) / len(looks) if looks else -1.0
