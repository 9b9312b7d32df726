"""Levels of attained service, for policies that know nothing else."""

from dataclasses import dataclass

import numpy as np

from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Floats, Integers
from mltrainer_scheduling.snapshot import Snapshot

_LEVELS = 12
_SHORTEST_S = 60.0
_RATIO = 2.0
_ENOUGH = 50
_SLACK_S = 1e-3


@dataclass(frozen=True, slots=True)
class Levels:
    """Thresholds of attained wall time, or of attained GPU seconds."""

    thresholds: tuple[float, ...]
    by_service: bool = False

    def of(self, snapshot: Snapshot) -> Integers:
        """Returns the level of each job, the least served in level zero."""
        levels: Integers = np.searchsorted(self.thresholds, self._attained(snapshot), "right")
        return levels

    def next_change_s(self, snapshot: Snapshot) -> float:
        """Returns when the first running job will leave its level."""
        jobs = snapshot.jobs
        edges = np.append(self.thresholds, np.inf)
        missing = (edges[self.of(snapshot)] - self._attained(snapshot)) / self._rate(snapshot)
        restoring = np.where(jobs.preemptions > 0, jobs.started_s + jobs.restore_s - snapshot.now_s, 0.0)
        due = missing + np.maximum(restoring, 0.0)
        return snapshot.now_s + float(due[jobs.running].min(initial=np.inf)) + _SLACK_S

    def _rate(self, snapshot: Snapshot) -> Floats:
        millis = snapshot.jobs.gang_gpu_millis
        return millis / WHOLE_GPU_MILLIS if self.by_service else np.ones(len(millis))

    def _attained(self, snapshot: Snapshot) -> Floats:
        return snapshot.jobs.attained_s * self._rate(snapshot)


def tuned_levels(snapshot: Snapshot) -> Levels:
    """Sets geometric thresholds; once enough has finished, each level ends an equal share of what is left."""
    walls = snapshot.history.wall_s
    if len(walls) < _ENOUGH:
        return Levels(tuple(_SHORTEST_S * _RATIO**level for level in range(_LEVELS)))
    count = 1 << (len(walls).bit_length() - 1)
    shares = 1.0 - 2.0 ** -np.arange(0.5, _LEVELS / 2, 0.5)
    return Levels(tuple(sorted({float(cut) for cut in np.quantile(walls[:count], shares)})))
