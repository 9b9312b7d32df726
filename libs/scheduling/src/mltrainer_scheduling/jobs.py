"""Jobs as a policy sees them: one row to build and read, columns to compute with."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE_GPU_MILLIS = 1_000

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


def _none() -> Integers:
    return np.zeros(0, np.int64)


class Topology(StrEnum):
    """How the workers of a gang may lie: anywhere, or on as few nodes as in an empty cluster."""

    ANY = "ANY"
    COMPACT = "COMPACT"


@dataclass(frozen=True, slots=True)
class Share:
    """Workers of one gang on one node; `device` is the GPU a fractional worker shares, else -1."""

    node: str
    workers: int
    device: int = -1


@dataclass(frozen=True, slots=True)
class Job:
    """A gang of equal workers that starts whole or not at all, pending where `shares` is empty.

    Attributes:
        job_id: Unique; breaks ties, so that equal snapshots give equal plans.
        submit_s: When it entered the queue, seconds since the epoch (or the start of a trace).
        workers: Width of the gang.
        gpu_millis: Thousandths of a GPU each worker needs; below 1,000 it shares one device.
        cpu_millis: Thousandths of a CPU each worker needs.
        memory_bytes: Memory each worker needs.
        gpu_type: Required type of GPU; empty for any.
        allows_spot: Whether interruptible nodes will do.
        topology: How the workers may lie.
        queue: Whose share it counts against; policies here ignore it, a `Gate` need not.
        priority: Higher goes first, whatever the policy thinks of the job.
        group: Jobs of one group last alike; durations are learned by group.
        preemptible: Whether it may be stopped to run later.
        minimum_run_s: It is not preempted before it ran for so long in one go.
        attained_s: Wall time for which it has made progress that was kept, all its runs together.
        unsaved_s: Progress that is not in `attained_s` yet and would be lost if it were preempted now.
        restore_s: Time each start after a preemption costs before progress continues.
        preemptions: How often it was preempted so far.
        started_s: When the present run began; not a number while pending.
        waiting_since_s: When it last began to wait (submission or last preemption).
        remaining_s: True remaining wall time; known to oracles in simulations only, else not a number.
        shares: Where it runs.
    """

    job_id: str
    submit_s: float = 0.0
    workers: int = 1
    gpu_millis: int = WHOLE_GPU_MILLIS
    cpu_millis: int = 0
    memory_bytes: int = 0
    gpu_type: str = ""
    allows_spot: bool = True
    topology: Topology = Topology.ANY
    queue: str = ""
    priority: int = 0
    group: str = ""
    preemptible: bool = True
    minimum_run_s: float = 0.0
    attained_s: float = 0.0
    unsaved_s: float = 0.0
    restore_s: float = 0.0
    preemptions: int = 0
    started_s: float = nan
    waiting_since_s: float = nan
    remaining_s: float = nan
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class JobTable:
    """The same as columns, one entry per job, in any order; arrays are never written to.

    Text is coded: `gpu_type[i]` indexes `gpu_types`, whose first entry is "" (any); `queue` and `group`
    likewise. Shares are parallel arrays sorted by job: `share_job[k]` is the row of the job, `share_node[k]`
    that of the node in the snapshot's `NodeTable`, then workers and device.
    """

    job_id: NDArray[np.object_]
    submit_s: Floats
    workers: Integers
    gpu_millis: Integers
    cpu_millis: Integers
    memory_bytes: Integers
    gpu_type: Integers
    allows_spot: Flags
    compact: Flags
    queue: Integers
    priority: Integers
    group: Integers
    preemptible: Flags
    minimum_run_s: Floats
    attained_s: Floats
    unsaved_s: Floats
    restore_s: Floats
    preemptions: Integers
    started_s: Floats
    waiting_since_s: Floats
    remaining_s: Floats
    running: Flags
    # What the last full plan found, where an event is decided in between; not a number for jobs new since.
    known_urgency_s: Floats | None = None
    gpu_types: tuple[str, ...] = ("",)
    queues: tuple[str, ...] = ("",)
    groups: tuple[str, ...] = ("",)
    share_job: Integers = field(default_factory=_none)
    share_node: Integers = field(default_factory=_none)
    share_workers: Integers = field(default_factory=_none)
    share_device: Integers = field(default_factory=_none)

    def __len__(self) -> int:
        return len(self.job_id)

    @property
    def gang_gpu_millis(self) -> Integers:
        """Thousandths of GPUs of the whole gang."""
        return self.workers * self.gpu_millis

    @property
    def attained_gpu_s(self) -> Floats:
        """GPU-seconds of service attained."""
        return self.attained_s * self.gang_gpu_millis / WHOLE_GPU_MILLIS


def taken(table: JobTable, rows: Integers) -> JobTable:
    """Returns some rows as a table, without shares."""
    columns = {name: getattr(table, name)[rows] for name in _ROWS}
    known = None if table.known_urgency_s is None else table.known_urgency_s[rows]
    return JobTable(
        **columns,
        known_urgency_s=known,
        gpu_types=table.gpu_types,
        queues=table.queues,
        groups=table.groups,
    )


def job_table(jobs: Sequence[Job], node_rows: dict[str, int]) -> JobTable:
    """Turns rows into columns; shares on nodes that `node_rows` does not know are dropped.

    Raises:
        ValueError: Two jobs have one id.
    """
    if len({job.job_id for job in jobs}) < len(jobs):
        raise ValueError("two jobs have one id")
    plain = {name: np.array([getattr(job, name) for job in jobs], kind) for name, kind in _PLAIN.items()}
    types, gpu_type = _coded(jobs, lambda job: job.gpu_type)
    queues, queue = _coded(jobs, lambda job: job.queue)
    groups, group = _coded(jobs, lambda job: job.group)
    shares = [
        (row, node_rows[share.node], share.workers, share.device)
        for row, job in enumerate(jobs)
        for share in job.shares
        if share.node in node_rows
    ]
    columns = np.array(shares, np.int64).reshape(-1, 4).T
    return JobTable(
        **plain,
        compact=np.array([job.topology is Topology.COMPACT for job in jobs], np.bool_),
        running=np.array([bool(job.shares) for job in jobs], np.bool_),
        gpu_type=gpu_type,
        queue=queue,
        group=group,
        gpu_types=types,
        queues=queues,
        groups=groups,
        share_job=columns[0],
        share_node=columns[1],
        share_workers=columns[2],
        share_device=columns[3],
    )


_ROWS = tuple(
    column.name
    for column in fields(JobTable)
    if column.default is MISSING and column.default_factory is MISSING
)
_KINDS: dict[object, type] = {str: np.object_, float: np.float64, int: np.int64, bool: np.bool_}
_PLAIN: dict[str, Any] = {
    column.name: _KINDS[column.type]
    for column in fields(Job)
    if column.type in _KINDS and column.name not in {"gpu_type", "queue", "group"}
}


def _coded(jobs: Sequence[Job], of: Callable[[Job], str]) -> tuple[tuple[str, ...], Integers]:
    codes = {"": 0}
    column = np.array([codes.setdefault(of(job), len(codes)) for job in jobs], np.int64)
    return tuple(codes), column
