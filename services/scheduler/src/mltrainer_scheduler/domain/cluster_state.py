"""The cluster in columns: a copy of the database that follows its changes and gives snapshots to policies.

It changes by what was read from the database alone, never by what was decided: whatever process reads the
same rows, from the beginning or change by change, plans from the same snapshot.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import inf, nan
from typing import Any

import numpy as np
from mltrainer_scheduling.fair_share import PastUse
from mltrainer_scheduling.jobs import Flags, Integers, JobTable
from mltrainer_scheduling.nodes import NodeTable
from mltrainer_scheduling.quotas import NOTHING, Amounts, Queue, plus
from mltrainer_scheduling.snapshot import History, Snapshot

from mltrainer_scheduler.domain.cluster import AWAITING_PLACEMENT, Demand, NodeReport
from mltrainer_scheduler.domain.facts import Delta, TrainingFact
from mltrainer_scheduler.domain.free_capacity import empty_nodes, with_free
from mltrainer_scheduler.domain.training import Terms

_FIRST_ROWS = 64
# Reasons that name no cause of waiting yet.
_NO_CAUSE = frozenset({"", AWAITING_PLACEMENT})


class _Column:
    """An array that grows."""

    def __init__(self, kind: Any) -> None:
        self.values = np.zeros(_FIRST_ROWS, kind)

    def double(self) -> None:
        self.values = np.concatenate([self.values, np.zeros_like(self.values)])


_KINDS: dict[str, Any] = {
    "name": np.object_,
    "create_s": np.float64,
    "ready_s": np.float64,
    "wait_begin_s": np.float64,
    "begin_s": np.float64,
    "deadline_s": np.float64,
    "attained_s": np.float64,
    "checkpoint_interval_s": np.float64,
    "preemption_count": np.int64,
    "priority": np.int64,
    "workers": np.int64,
    "cpu_millis": np.int64,
    "memory_bytes": np.int64,
    "gpu_millis": np.int64,
    "gpu_type": np.int64,
    "queue": np.int64,
    "group": np.int64,
    "allows_spot": np.bool_,
    "is_queued": np.bool_,
    "is_placed": np.bool_,
    "has_key": np.bool_,
}
_COPIED = tuple(field.name for field in fields(TrainingFact) if field.name in _KINDS)


@dataclass(frozen=True, slots=True)
class Account:
    """The queue that a gang counts against, and what the whole gang counts."""

    queue: str
    amounts: Amounts


class _Accounts:
    """Texts that stand for accounts where policies expect queues, so that a gate knows all amounts."""

    def __init__(self) -> None:
        self.by_text: dict[str, Account] = {"": Account("", NOTHING)}
        self._codes: dict[tuple[str, Amounts, int], int] = {}

    def code(self, queue: str, demand: Demand) -> int:
        amounts = demand.worker.amounts
        code = self._codes.get((queue, amounts, demand.workers))
        if code is None:
            code = self._codes[queue, amounts, demand.workers] = len(self.by_text)
            self.by_text[f"{queue}#{code}"] = Account(queue, plus(NOTHING, amounts, demand.workers))
        return code


class _Codes:
    """Numbers for texts, the empty one first."""

    def __init__(self) -> None:
        self._codes = {"": 0}

    def code(self, text: str) -> int:
        return self._codes.setdefault(text, len(self._codes))

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._codes)


@dataclass(slots=True)
class _Shares:
    """Shares of placed trainings as rows; a free row has no workers."""

    job: _Column = field(default_factory=lambda: _Column(np.int64))
    node: _Column = field(default_factory=lambda: _Column(np.int64))
    workers: _Column = field(default_factory=lambda: _Column(np.int64))
    device: _Column = field(default_factory=lambda: _Column(np.int64))
    rows_of: dict[int, list[int]] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)
    count: int = 0

    def replace(self, job: int, shares: Sequence[tuple[int, int, int]]) -> None:
        for row in self.rows_of.pop(job, ()):
            self.workers.values[row] = 0
            self.free.append(row)
        for node, workers, device in shares:
            row = self.free.pop() if self.free else self._new_row()
            self.job.values[row], self.node.values[row] = job, node
            self.workers.values[row], self.device.values[row] = workers, device
            self.rows_of.setdefault(job, []).append(row)

    def _new_row(self) -> int:
        self.count += 1
        if self.count > len(self.job.values):
            for column in (self.job, self.node, self.workers, self.device):
                column.double()
        return self.count - 1


class ClusterState:
    """Follows the database; `snapshot` tells policies what it knows."""

    def __init__(self) -> None:
        self.revision = -1
        self.knowledge = 0
        self.learned = -1
        self.queues: tuple[Queue, ...] = ()
        self.past: Mapping[str, PastUse] = {}
        self.history = History()
        self.nodes: dict[str, NodeReport] = {}
        self.facts: dict[str, TrainingFact] = {}
        self.untold: dict[str, None] = {}
        self._columns = {name: _Column(kind) for name, kind in _KINDS.items()}
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        self._names: list[str] = []
        self._ordered: Integers | None = None
        self._count = 0
        self._gpu_types, self._groups = _Codes(), _Codes()
        self._accounts = _Accounts()
        self._shares = _Shares()
        self._node_rows: dict[str, int] = {}
        self._node_table: NodeTable | None = None
        self._node_ranks: Integers | None = None

    def apply(self, delta: Delta) -> None:
        """Takes changes over; those already known change nothing."""
        for fact in delta.trainings:
            if fact.is_queued or fact.shares:
                self._put(fact)
            else:
                self._remove(fact.name)
        for node in delta.nodes:
            self.nodes[node.name] = node
            self._node_row(node.name)
            self._node_table = self._node_ranks = None
        self.queues = self.queues if delta.queues is None else delta.queues
        self.past = self.past if delta.past is None else delta.past
        self.history = self.history if delta.history is None else delta.history
        self.knowledge, self.learned = delta.knowledge, delta.learned
        self.revision = delta.revision

    @property
    def queued_count(self) -> int:
        """Returns how many trainings wait."""
        return int(np.count_nonzero(self._active("is_queued")))

    def late(self, now_s: float) -> list[str]:
        """Names the waiting trainings whose deadline has passed, oldest first."""
        return self._waiting_names((self._active("deadline_s") <= now_s) & (self._active("ready_s") <= now_s))

    def keyless(self, now_s: float) -> list[str]:
        """Names the others that wait to learn what they compute, oldest first."""
        is_ready = (self._active("ready_s") <= now_s) & (self._active("deadline_s") > now_s)
        return self._waiting_names(~self._active("has_key") & is_ready)

    def _waiting_names(self, chosen: Flags) -> list[str]:
        return sorted(self._active("name")[self._active("is_queued") & chosen])

    def ahead_of(self, name: str) -> list[str]:
        """Names those of the same queue that go by priority and age before a training, next ones first."""
        me = self.facts[name]
        order = sorted(
            (-fact.priority, fact.create_s, fact.name)
            for fact in self.facts.values()
            if fact.queue == me.queue
            and fact.is_queued
            and (-fact.priority, fact.create_s, fact.name) < (-me.priority, me.create_s, me.name)
        )
        return [before for _, _, before in order]

    def next_time_s(self, now_s: float, terms: Terms) -> float:
        """Returns when waiting alone will change something.

        A retry is due, a deadline passes, or, while others wait, a training has had its minimum run.
        """
        queued, placed = self._active("is_queued"), self._active("is_placed")
        times = [self._active("ready_s")[queued], self._active("deadline_s")[queued]]
        if queued.any():
            times.append(self._active("begin_s")[placed] + terms.minimum_run_s)
        every = np.concatenate(times)
        return float(np.min(every[every > now_s], initial=inf))

    def snapshot(self, now_s: float, silent: Collection[str], terms: Terms) -> Snapshot:
        """Returns what a policy may know; trainings that may not be placed yet are left out."""
        queued = self._active("is_queued") & self._active("has_key")
        queued &= (self._active("ready_s") <= now_s) & (self._active("deadline_s") > now_s)
        order = self._order()
        chosen = order[(queued | self._active("is_placed"))[order]]
        jobs = self._jobs(chosen, now_s, terms)
        return Snapshot(now_s, jobs, with_free(jobs, self._nodes(silent)), self.history)

    def accounts(self) -> Mapping[str, Account]:
        """Returns what stands for a queue in snapshots."""
        return self._accounts.by_text

    def _active(self, name: str) -> Any:
        return self._columns[name].values[: self._count]

    def _order(self) -> Integers:
        """Returns the rows by name: policies break ties by position."""
        if self._ordered is None:
            rows = self._rows
            self._ordered = np.fromiter((rows[name] for name in self._names), np.int64, len(self._names))
        return self._ordered

    def _put(self, fact: TrainingFact) -> None:
        row = self._rows.get(fact.name)
        if row is None:
            row = self._rows[fact.name] = self._free.pop() if self._free else self._new_row()
            insort(self._names, fact.name)
            self._ordered = None
        self.facts[fact.name] = fact
        if fact.is_queued and fact.reason in _NO_CAUSE:
            self.untold[fact.name] = None
        else:
            self.untold.pop(fact.name, None)
        columns, demand = self._columns, fact.demand
        for name in _COPIED:
            if name not in {"queue", "group"}:
                columns[name].values[row] = getattr(fact, name)
        columns["workers"].values[row] = demand.workers
        columns["cpu_millis"].values[row] = demand.worker.cpu_millis
        columns["memory_bytes"].values[row] = demand.worker.memory_bytes
        columns["gpu_millis"].values[row] = demand.worker.gpu_millis
        columns["gpu_type"].values[row] = self._gpu_types.code(demand.gpu_type)
        columns["queue"].values[row] = self._accounts.code(fact.queue, demand)
        columns["group"].values[row] = self._groups.code(fact.group)
        columns["allows_spot"].values[row] = demand.allows_spot
        columns["is_placed"].values[row] = bool(fact.shares)
        shares = [(self._node_row(share.node), share.workers, share.device) for share in fact.shares]
        self._shares.replace(row, shares)

    def _node_row(self, name: str) -> int:
        if name not in self._node_rows:
            self._node_rows[name] = len(self._node_rows)
            self._node_ranks = None
        return self._node_rows[name]

    def _remove(self, name: str) -> None:
        row = self._rows.pop(name, None)
        if row is None:
            return
        del self.facts[name]
        del self._names[bisect_left(self._names, name)]
        self._ordered = None
        self.untold.pop(name, None)
        self._columns["is_queued"].values[row] = self._columns["is_placed"].values[row] = False
        self._shares.replace(row, ())
        self._free.append(row)

    def _new_row(self) -> int:
        self._count += 1
        if self._count > len(self._columns["name"].values):
            for column in self._columns.values():
                column.double()
        return self._count - 1

    def _jobs(self, chosen: Integers, now_s: float, terms: Terms) -> JobTable:
        take = {name: self._active(name)[chosen] for name in _KINDS}
        placed, interval_s = take["is_placed"], take["checkpoint_interval_s"]
        run_s = np.where(placed, np.maximum(now_s - take["begin_s"], 0.0), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            saved_s = np.where(interval_s > 0.0, np.floor(run_s / interval_s) * interval_s, 0.0)
        saved_s = np.where(placed, saved_s, 0.0)
        ranks = self._ranks()
        share_rows, jobs = self._share_rows(chosen, ranks)
        return JobTable(
            job_id=take["name"],
            submit_s=take["create_s"],
            workers=take["workers"],
            gpu_millis=take["gpu_millis"],
            cpu_millis=take["cpu_millis"],
            memory_bytes=take["memory_bytes"],
            gpu_type=take["gpu_type"],
            allows_spot=take["allows_spot"],
            compact=np.zeros(len(chosen), np.bool_),
            queue=take["queue"],
            priority=take["priority"],
            group=take["group"],
            # What keeps no checkpoints would lose everything: only a debt of its queue can cost it its place.
            preemptible=(interval_s > 0.0) & (take["preemption_count"] < terms.max_preemptions),
            minimum_run_s=np.full(len(chosen), terms.minimum_run_s),
            attained_s=take["attained_s"] + saved_s,
            unsaved_s=run_s - saved_s,
            restore_s=np.full(len(chosen), terms.restore_s),
            preemptions=take["preemption_count"],
            started_s=np.where(placed, take["begin_s"], nan),
            waiting_since_s=take["wait_begin_s"],
            remaining_s=np.full(len(chosen), nan),
            running=placed,
            gpu_types=self._gpu_types.texts,
            queues=tuple(self._accounts.by_text),
            groups=self._groups.texts,
            share_job=jobs,
            share_node=ranks[self._shares.node.values[share_rows]],
            share_workers=self._shares.workers.values[share_rows],
            share_device=self._shares.device.values[share_rows],
        )

    def _share_rows(self, chosen: Integers, ranks: Integers) -> tuple[Integers, Integers]:
        position = np.full(self._count, -1, np.int64)
        position[chosen] = np.arange(len(chosen))
        rows = np.flatnonzero(self._shares.workers.values[: self._shares.count] > 0)
        rows = rows[ranks[self._shares.node.values[rows]] >= 0]
        jobs = position[self._shares.job.values[rows]]
        # In an order that does not tell in which order rows came: policies name blockers by it.
        nodes, devices = ranks[self._shares.node.values[rows]], self._shares.device.values[rows]
        order = np.lexsort((devices, nodes, jobs))
        return rows[order], jobs[order]

    def _ranks(self) -> Integers:
        """Returns for each node its row in the table, where nodes stand by name; -1 for unreported ones."""
        if self._node_ranks is None:
            self._node_ranks = np.full(len(self._node_rows), -1, np.int64)
            for rank, name in enumerate(sorted(self.nodes)):
                self._node_ranks[self._node_rows[name]] = rank
        return self._node_ranks

    def _nodes(self, silent: Collection[str]) -> NodeTable:
        if self._node_table is None:
            self._node_table = empty_nodes([self.nodes[name] for name in sorted(self.nodes)])
        nodes = self._node_table
        if not silent:
            return nodes
        heard = np.array([name not in silent for name in nodes.name], np.bool_)
        return replace(nodes, schedulable=nodes.schedulable & heard)
