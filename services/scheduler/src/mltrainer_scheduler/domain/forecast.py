"""Says when a waiting training may start, from how long finished trainings took.

A fluid estimate: what executes ends after the time that trainings of the same age had left, what is ahead in
the queue takes the time of its own kind, and the cluster works it off. Early is the first fifth of cases,
late the fourth.
"""

from dataclasses import dataclass

import numpy as np
from mltrainer_scheduling.fair_share import dominant_share
from mltrainer_scheduling.jobs import Floats
from mltrainer_scheduling.quotas import Amounts, plus
from mltrainer_scheduling.snapshot import History, Snapshot

from mltrainer_scheduler.domain.free_capacity import capacity_of

EARLY, LATE = 0.2, 0.8
_FEWEST = 5


@dataclass(frozen=True, slots=True)
class Interval:
    """From the first to the fourth fifth of cases, in seconds from now."""

    early_s: float
    late_s: float


def duration_of(history: History, group: str) -> tuple[Interval | None, int]:
    """Returns how long a training of a group will take, and from how many samples; all where it has few."""
    own = history.wall_s[[one == group for one in history.group]] if group else history.wall_s[:0]
    samples = own if len(own) >= _FEWEST else history.wall_s
    if len(samples) < _FEWEST:
        return None, len(samples)
    early, late = np.quantile(samples, [EARLY, LATE])
    return Interval(float(early), float(late)), len(samples)


def start_of(snapshot: Snapshot, ahead: int, amounts: Amounts) -> Interval | None:
    """Returns when a training with so many ahead of it can start; None where nothing was learned."""
    lengths = np.sort(snapshot.history.wall_s)
    capacity = capacity_of(snapshot.nodes)
    if len(lengths) < _FEWEST or not any(capacity):
        return None
    early, late = (_start_s(snapshot, lengths, ahead, amounts, quantile) for quantile in (EARLY, LATE))
    return Interval(min(early, late), max(early, late))


def _start_s(snapshot: Snapshot, lengths: Floats, ahead: int, amounts: Amounts, quantile: float) -> float:
    jobs = snapshot.jobs
    running = np.flatnonzero(jobs.running)
    shares = _shares(snapshot)
    left_s = _left_s(lengths, snapshot.now_s - jobs.started_s[running], quantile)
    order = np.argsort(left_s)
    wanted = dominant_share(amounts, capacity_of(snapshot.nodes))
    free = max(1.0 - float(shares[running].sum()), 0.0) + np.cumsum(shares[running][order])
    enough = int(np.searchsorted(free, wanted))
    release_s = 0.0 if free.size == 0 else float(left_s[order][min(enough, free.size - 1)])
    if not ahead:
        return release_s
    mean = float(shares[~jobs.running].mean()) if len(snapshot.pending) else 0.0
    work_s = ahead * mean * float(np.quantile(lengths, quantile))
    return max(release_s, float((shares[running] * left_s).sum()) * quantile + work_s)


def _shares(snapshot: Snapshot) -> Floats:
    """Returns the dominant share of each training."""
    jobs, capacity = snapshot.jobs, capacity_of(snapshot.nodes)
    columns = (jobs.cpu_millis, jobs.memory_bytes, jobs.gpu_millis)
    shares = np.zeros(len(jobs))
    for column, available in zip(columns, capacity, strict=True):
        if available:
            shares = np.maximum(shares, column * jobs.workers / available)
    return shares


def _left_s(lengths: Floats, age_s: Floats, quantile: float) -> Floats:
    """Returns what trainings of an age had left; who is older than all lasts as long again."""
    older = np.searchsorted(lengths, age_s, side="right")
    index = np.minimum(older + (quantile * (len(lengths) - older)).astype(np.int64), len(lengths) - 1)
    return np.where(older < len(lengths), np.maximum(lengths[index] - age_s, 0.0), age_s)


def total(worker: Amounts, workers: int) -> Amounts:
    """Returns what a whole gang needs."""
    return plus((0, 0, 0), worker, workers)
