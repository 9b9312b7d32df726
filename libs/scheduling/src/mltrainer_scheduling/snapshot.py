"""All that a policy may know when it decides."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np

from mltrainer_scheduling.jobs import Floats, Integers, Job, JobTable, job_table
from mltrainer_scheduling.nodes import Node, NodeTable, node_table


@dataclass(frozen=True, slots=True)
class History:
    """Jobs that finished: how long each took in wall time, how wide it was, its group, when it was submitted.

    The columns are parallel; without submission times (an empty column) policies learn from groups alone.
    `with_finished` returns a longer history and leaves this one as it is.
    """

    wall_s: Floats = field(default_factory=lambda: np.zeros(0))
    gpus: Floats = field(default_factory=lambda: np.zeros(0))
    group: tuple[str, ...] = ()
    submit_s: Floats = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.wall_s)

    def with_finished(self, wall_s: float, gpus: float, group: str = "", submit_s: float = nan) -> "History":
        """Returns a history that knows one job more."""
        known = self.submit_s if len(self.submit_s) == len(self) else np.full(len(self), nan)
        return History(
            np.append(self.wall_s, wall_s),
            np.append(self.gpus, gpus),
            (*self.group, group),
            np.append(known, submit_s),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cluster at one moment. `shares` of running jobs refer to rows of `nodes`."""

    now_s: float
    jobs: JobTable
    nodes: NodeTable
    history: History = field(default_factory=History)

    @property
    def pending(self) -> Integers:
        """Rows of jobs that wait."""
        return np.flatnonzero(~self.jobs.running)


def snapshot(
    now_s: float, jobs: Sequence[Job], nodes: Sequence[Node], history: History | None = None
) -> Snapshot:
    """Builds a snapshot from rows."""
    table = node_table(nodes)
    return Snapshot(now_s, job_table(jobs, table.rows()), table, history or History())
