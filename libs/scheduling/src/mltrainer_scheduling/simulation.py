"""Replays jobs through a policy, the very one that decides live."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np

from mltrainer_scheduling.causes import lasting_cause
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Floats, Integers, JobTable
from mltrainer_scheduling.nodes import Node, NodeTable, node_table
from mltrainer_scheduling.plan import Plan, Policy, Start
from mltrainer_scheduling.room import Room, Shape
from mltrainer_scheduling.snapshot import History, Snapshot

_SAME_TIME_S = 1e-6


@dataclass(frozen=True, slots=True)
class TraceJob:
    """A job of a trace: a rigid gang of single-GPU workers."""

    job_id: str
    submit_s: float
    gpus: int
    duration_s: float
    group: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """What happened to each job, in the order given, and to the cluster over time.

    `time_s`, `used_gpus` and `waiting` are parallel: amounts hold from that time on.
    """

    submit_s: Floats
    duration_s: Floats
    finish_s: Floats
    preemptions: Integers
    longest_wait_s: Floats
    time_s: Floats
    used_gpus: Integers
    waiting: Integers
    plans: int
    total_gpus: int


class StalledError(Exception):
    """The policy leaves jobs waiting for ever although nothing else will happen.

    Attributes:
        job_ids: Who waits.
    """

    def __init__(self, job_ids: Sequence[str]) -> None:
        self.job_ids = tuple(job_ids)
        super().__init__(f"{len(self.job_ids)} jobs wait for ever, {self.job_ids[0]!r} among them")


class UnsoundPlanError(Exception):
    """A plan over-allocates, splits a gang, or speaks of jobs that are not what it takes them for."""


def cluster(gpus: int, gpus_per_node: int) -> tuple[Node, ...]:
    """Returns equal nodes, the last one smaller where the division leaves a rest."""
    full, rest = divmod(gpus, gpus_per_node)
    sizes = [gpus_per_node] * full + [rest] * bool(rest)
    return tuple(Node(f"n{index:04}", size) for index, size in enumerate(sizes))


def unplaceable(jobs: Sequence[TraceJob], nodes: Sequence[Node]) -> tuple[TraceJob, ...]:
    """Returns the jobs whose gang not even the empty cluster could hold."""
    room = Room(node_table(nodes), is_shared=False)
    too_wide = {
        gpus
        for gpus in {job.gpus for job in jobs}
        if lasting_cause(room, Shape(gpus, 1, 0, 0, 0, "", allows_spot=True, compact=True))
    }
    return tuple(job for job in jobs if job.gpus in too_wide)


def replay(
    jobs: Sequence[TraceJob],
    nodes: Sequence[Node],
    policy: Policy,
    *,
    restore_s: float = 60.0,
    history: History | None = None,
    knows_durations: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Replay:
    """Replays a trace to its end; jobs must fit the cluster, and are taken in order of submission."""
    run = _Run(jobs, nodes, restore_s, history or History(), knows_durations=knows_durations)
    while run.left:
        if not run.advance():
            raise StalledError(run.waiting_ids())
        run.apply(policy.plan(run.snapshot()))
        if progress is not None:
            progress(len(jobs) - run.left)
    return run.result()


class _Run:
    """State of a replay."""

    def __init__(
        self,
        jobs: Sequence[TraceJob],
        nodes: Sequence[Node],
        restore_s: float,
        history: History,
        *,
        knows_durations: bool,
    ) -> None:
        order = sorted(range(len(jobs)), key=lambda index: (jobs[index].submit_s, index))
        self._order = np.array(order, np.int64)
        self._ids = np.array([jobs[index].job_id for index in order], np.object_)
        self._row = {job_id: row for row, job_id in enumerate(self._ids.tolist())}
        self._submit = np.array([jobs[index].submit_s for index in order])
        self._width = np.array([jobs[index].gpus for index in order], np.int64)
        self._duration = np.array([jobs[index].duration_s for index in order])
        groups = {"": 0}
        self._group = np.array(
            [groups.setdefault(jobs[index].group, len(groups)) for index in order], np.int64
        )
        self._groups = tuple(groups)
        self._restore_s = restore_s
        self._history = history
        self._knows = knows_durations
        self._nodes = node_table(nodes)
        self._node_row = self._nodes.rows()
        self._free: Integers = self._nodes.gpus.copy()
        count = len(jobs)
        self._done = np.zeros(count)
        # When progress of the present run began; in the future while it restores.
        self._since = np.full(count, nan)
        self._started = np.full(count, nan)
        self._waiting_since = self._submit.copy()
        self._longest_wait = np.zeros(count)
        self._preemptions = np.zeros(count, np.int64)
        self._finish = np.full(count, nan)
        self._running = np.zeros(count, np.bool_)
        self._spots: dict[int, list[tuple[int, int]]] = {}
        self._ends: dict[int, float] = {}
        self._active: list[int] = []
        self._arrived = 0
        self._now = 0.0
        self._review = inf
        self.left = count
        self._times: list[tuple[float, int, int]] = []

    def advance(self) -> bool:
        """Goes to the next event; returns whether there is one."""
        arrival = self._submit[self._arrived] if self._arrived < len(self._submit) else inf
        now = min(float(arrival), min(self._ends.values(), default=inf), self._review)
        if now == inf:
            return False
        self._now = max(now, self._now)
        ended = [row for row, end in self._ends.items() if end <= self._now + _SAME_TIME_S]
        for row in sorted(ended):
            self._end(row)
        while self._arrived < len(self._submit) and self._submit[self._arrived] <= self._now:
            self._active.append(self._arrived)
            self._arrived += 1
        return True

    def _end(self, row: int) -> None:
        self._release(row)
        self._finish[row] = self._now
        self._active.remove(row)
        self.left -= 1
        self._history = self._history.with_finished(
            float(self._duration[row]),
            float(self._width[row]),
            self._groups[self._group[row]],
            float(self._submit[row]),
        )

    def _release(self, row: int) -> None:
        for node, workers in self._spots.pop(row):
            self._free[node] += workers
        del self._ends[row]
        self._running[row] = False

    def snapshot(self) -> Snapshot:
        """Shows the policy what it may know."""
        rows = np.array(self._active, np.int64)
        count, running = len(rows), self._running[rows]
        attained = self._done[rows] + np.where(running, np.maximum(self._now - self._since[rows], 0.0), 0.0)
        remaining = self._duration[rows] - attained if self._knows else np.full(count, nan)
        shares = [
            (place, node, workers)
            for place, row in enumerate(self._active)
            if row in self._spots
            for node, workers in self._spots[row]
        ]
        columns = np.array(shares, np.int64).reshape(-1, 3).T
        zeros = np.zeros(count, np.int64)
        table = JobTable(
            job_id=self._ids[rows],
            submit_s=self._submit[rows],
            workers=self._width[rows],
            gpu_millis=np.full(count, WHOLE_GPU_MILLIS, np.int64),
            cpu_millis=zeros,
            memory_bytes=zeros,
            gpu_type=zeros,
            allows_spot=np.ones(count, np.bool_),
            compact=np.ones(count, np.bool_),
            queue=zeros,
            priority=zeros,
            group=self._group[rows],
            preemptible=np.ones(count, np.bool_),
            minimum_run_s=np.zeros(count),
            attained_s=attained,
            unsaved_s=np.zeros(count),
            restore_s=np.full(count, self._restore_s),
            preemptions=self._preemptions[rows],
            started_s=self._started[rows],
            waiting_since_s=self._waiting_since[rows],
            remaining_s=remaining,
            running=running,
            groups=self._groups,
            share_job=columns[0],
            share_node=columns[1],
            share_workers=columns[2],
            share_device=np.full(len(shares), -1, np.int64),
        )
        return Snapshot(self._now, table, self._with_free(), self._history)

    def _with_free(self) -> NodeTable:
        nodes = self._nodes
        devices = np.arange(nodes.free_gpu_millis.shape[1])
        free = (devices < self._free[:, None]) * WHOLE_GPU_MILLIS
        return NodeTable(
            nodes.name,
            nodes.gpus,
            nodes.cpu_millis,
            nodes.memory_bytes,
            free,
            nodes.free_cpu_millis,
            nodes.free_memory_bytes,
            nodes.gpu_type,
            nodes.spot,
            nodes.zone,
            nodes.price_usd_per_hour,
            nodes.schedulable,
        )

    def apply(self, plan: Plan) -> None:
        """Carries a plan out."""
        for preemption in plan.preemptions:
            self._stop(self._row[preemption.job_id])
        for start in plan.starts:
            self._start(start)
        if self._free.min(initial=0) < 0:
            raise UnsoundPlanError(f"a node is over-allocated at {self._now} s")
        self._review = plan.review_s if plan.review_s > self._now else inf
        waiting = len(self._active) - len(self._spots)
        self._times.append((self._now, int((self._nodes.gpus - self._free).sum()), waiting))

    def _stop(self, row: int) -> None:
        if not self._running[row]:
            raise UnsoundPlanError(f"{self._ids[row]!r} is preempted but does not run")
        self._done[row] += max(self._now - self._since[row], 0.0)
        self._release(row)
        self._preemptions[row] += 1
        self._waiting_since[row] = self._now

    def _start(self, start: Start) -> None:
        row = self._row[start.job_id]
        if self._running[row] or np.isfinite(self._finish[row]):
            raise UnsoundPlanError(f"{start.job_id!r} starts but does not wait")
        if sum(share.workers for share in start.shares) != self._width[row]:
            raise UnsoundPlanError(f"the gang of {start.job_id!r} starts in part")
        spots = [(self._node_row[share.node], share.workers) for share in start.shares]
        for node, workers in spots:
            self._free[node] -= workers
        restore_s = self._restore_s if self._preemptions[row] else 0.0
        waited = self._now - self._waiting_since[row]
        self._longest_wait[row] = max(self._longest_wait[row], waited)
        self._spots[row] = spots
        self._running[row] = True
        self._started[row] = self._now
        self._since[row] = self._now + restore_s
        self._ends[row] = self._now + restore_s + self._duration[row] - self._done[row]

    def waiting_ids(self) -> list[str]:
        """Returns who waits."""
        return [str(self._ids[row]) for row in self._active if not self._running[row]]

    def result(self) -> Replay:
        """Returns what happened."""
        back = np.argsort(self._order)
        times = np.array(self._times).reshape(-1, 3)
        return Replay(
            self._submit[back],
            self._duration[back],
            self._finish[back],
            self._preemptions[back],
            self._longest_wait[back],
            times[:, 0],
            times[:, 1].astype(np.int64),
            times[:, 2].astype(np.int64),
            len(self._times),
            int(self._nodes.gpus.sum()),
        )
