"""The cluster in columns: a copy of the database that follows its changes.

It changes by what was committed alone, never by what was decided: whatever process reads the same rows, from
the beginning or change by change, plans from the same snapshot. `situations` makes snapshots of it.
"""

from collections.abc import Collection
from dataclasses import fields, replace
from math import inf, nan
from typing import Any

import numpy as np
from mltrainer_scheduling.fair_share import PastUse
from mltrainer_scheduling.jobs import Flags, Integers
from mltrainer_scheduling.nodes import NodeTable
from mltrainer_scheduling.quotas import Queue
from mltrainer_scheduling.snapshot import History

from mltrainer_scheduler.domain.cluster import AWAITING_PLACEMENT, NodeReport
from mltrainer_scheduler.domain.columns import Accounts, Codes, Column, ShareRows
from mltrainer_scheduler.domain.facts import Delta, KnownDurations, TrainingFact
from mltrainer_scheduler.domain.free_capacity import empty_nodes
from mltrainer_scheduler.domain.training import Terms

# Reasons that name no cause of waiting yet.
_NO_CAUSE = frozenset({"", AWAITING_PLACEMENT})
_UNRANKED = -1.0
_KINDS: dict[str, Any] = {
    "name": np.object_,
    "create_s": np.float64,
    "ready_s": np.float64,
    "wait_begin_s": np.float64,
    "begin_s": np.float64,
    "deadline_s": np.float64,
    "attained_s": np.float64,
    "checkpoint_interval_s": np.float64,
    "checkpoint_s": np.float64,
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
    # Of the last full plan: place in its order, before all others for who was not in it, and urgency.
    "rank": np.float64,
    "urgency_s": np.float64,
}
_COPIED = tuple(
    field.name
    for field in fields(TrainingFact)
    if field.name in _KINDS and field.name not in {"queue", "group"}
)


class ClusterState:
    """Follows what is committed."""

    def __init__(self) -> None:
        self.revision = -1
        self.knowledge = 0
        self.queues: tuple[Queue, ...] = ()
        self.past: dict[str, PastUse] = {}
        self.durations = KnownDurations()
        self.nodes: dict[str, NodeReport] = {}
        self.facts: dict[str, TrainingFact] = {}
        self.untold: dict[str, None] = {}
        self.accounts = Accounts()
        self.shares = ShareRows()
        # Since the last plan: nodes where something ended, and whether more than trainings has changed.
        self.freed_nodes: set[int] = set()
        self.has_changed_widely = True
        self._columns = {name: Column(kind) for name, kind in _KINDS.items()}
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        self._ordered: Integers | None = None
        self._count = 0
        self._gpu_types, self._groups = Codes(), Codes()
        self._node_rows: dict[str, int] = {}
        self._node_table: NodeTable | None = None
        self._node_ranks: Integers | None = None

    def __len__(self) -> int:
        """Returns how many trainings wait or execute."""
        return len(self._rows)

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
        self.has_changed_widely |= bool(delta.nodes)
        if delta.queues is not None:
            self.has_changed_widely |= delta.queues != self.queues
            self.queues = delta.queues
        self.past |= delta.past or {}
        for name, checkpoint_s in delta.checkpoints_s.items():
            if name in self._rows:
                self.facts[name] = replace(self.facts[name], checkpoint_s=checkpoint_s)
                self._columns["checkpoint_s"].values[self._rows[name]] = checkpoint_s
        if delta.duration_count is not None:
            self.durations.extend(delta.durations, delta.duration_count)
        if delta.knowledge is not None:
            self.knowledge = delta.knowledge
        self.revision = delta.revision

    @property
    def history(self) -> History:
        """Returns what finished trainings took."""
        return self.durations.history

    @property
    def count(self) -> int:
        """Returns how many rows the columns have, free ones included."""
        return self._count

    def column(self, name: str) -> Any:
        """Returns one value for each row."""
        return self._columns[name].values[: self._count]

    @property
    def queued_count(self) -> int:
        """Returns how many trainings wait."""
        return int(np.count_nonzero(self.column("is_queued")))

    def late(self, now_s: float) -> list[str]:
        """Names the waiting trainings whose deadline has passed, oldest first."""
        return self._waiting_names((self.column("deadline_s") <= now_s) & (self.column("ready_s") <= now_s))

    def keyless(self, now_s: float) -> list[str]:
        """Names the others that wait to learn what they compute, oldest first."""
        is_ready = (self.column("ready_s") <= now_s) & (self.column("deadline_s") > now_s)
        return self._waiting_names(~self.column("has_key") & is_ready)

    def startable(self, now_s: float) -> Flags:
        """Tells which rows may be placed."""
        queued = self.column("is_queued") & self.column("has_key")
        return np.asarray(queued & (self.column("ready_s") <= now_s) & (self.column("deadline_s") > now_s))

    def ahead_of(self, name: str, most: int) -> tuple[list[str], int]:
        """Names the next of those of the same queue that go before a training, and counts all of them.

        They go by priority and age.
        """
        me = self.facts[name]
        codes = [
            code for code, account in enumerate(self.accounts.by_text.values()) if account.queue == me.queue
        ]
        names, priority, create_s = (self.column(one) for one in ("name", "priority", "create_s"))
        older = create_s < me.create_s
        equal = np.flatnonzero(create_s == me.create_s)
        older[equal] = names[equal] < name
        before = (priority > me.priority) | ((priority == me.priority) & older)
        rows = np.flatnonzero(self.column("is_queued") & np.isin(self.column("queue"), codes) & before)
        first = rows[np.lexsort((create_s[rows], -priority[rows]))[: 2 * most]].tolist()
        first.sort(key=lambda row: (-priority[row], create_s[row], names[row]))
        return [names[row] for row in first[:most]], len(rows)

    def next_change_s(self, now_s: float) -> float:
        """Returns when a retry is due or a deadline passes."""
        queued = self.column("is_queued")
        columns = (self.column("ready_s"), self.column("deadline_s"))
        return min(float(np.min(times[queued & (times > now_s)], initial=inf)) for times in columns)

    def next_preemptible_s(self, now_s: float, terms: Terms) -> float:
        """Returns when, while others wait, a training will have had its minimum run."""
        if not self.column("is_queued").any():
            return inf
        times = self.column("begin_s")[self.column("is_placed")] + terms.minimum_run_s
        return float(np.min(times[times > now_s], initial=inf))

    def remember(self, order: Collection[str], urgency_s: Collection[float], last: Collection[str]) -> None:
        """Takes note of how the last full plan ranked; whom no event can help, or it left out, comes last."""
        self.column("rank")[:] = inf
        rows = np.fromiter((self._rows[name] for name in order), np.int64, len(order))
        self.column("rank")[rows] = np.arange(len(rows))
        self.column("urgency_s")[rows] = np.fromiter(urgency_s, np.float64, len(urgency_s))
        self.column("rank")[[self._rows[name] for name in last]] = inf
        self.has_planned()
        self.has_changed_widely = False

    def has_planned(self) -> None:
        """Takes note that what has changed was planned for."""
        self.freed_nodes.clear()

    def order(self) -> Integers:
        """Returns the rows by name: policies break ties by position."""
        if self._ordered is None:
            rows = self._rows
            self._ordered = np.fromiter((rows[name] for name in sorted(rows)), np.int64, len(rows))
        return self._ordered

    def texts(self) -> dict[str, Any]:
        """Returns what codes stand for."""
        return {
            "gpu_types": self._gpu_types.texts,
            "queues": self.accounts.texts,
            "groups": self._groups.texts,
        }

    def node_ranks(self) -> Integers:
        """Returns for each node its row in the table, where nodes stand by name; -1 for unreported ones."""
        if self._node_ranks is None:
            self._node_ranks = np.full(len(self._node_rows), -1, np.int64)
            for rank, name in enumerate(sorted(self.nodes)):
                self._node_ranks[self._node_rows[name]] = rank
        return self._node_ranks

    def empty_nodes(self, silent: Collection[str]) -> NodeTable:
        """Returns the nodes as if nothing executed; silent ones get nothing new."""
        if self._node_table is None:
            self._node_table = empty_nodes([self.nodes[name] for name in sorted(self.nodes)])
        nodes = self._node_table
        if not silent:
            return nodes
        heard = np.array([name not in silent for name in nodes.name], np.bool_)
        return replace(nodes, schedulable=nodes.schedulable & heard)

    def _waiting_names(self, chosen: Flags) -> list[str]:
        return sorted(self.column("name")[self.column("is_queued") & chosen])

    def _put(self, fact: TrainingFact) -> None:
        row = self._rows.get(fact.name)
        if row is None:
            row = self._rows[fact.name] = self._free.pop() if self._free else self._new_row()
            self._ordered = None
            self._columns["rank"].values[row], self._columns["urgency_s"].values[row] = _UNRANKED, nan
        self.facts[fact.name] = fact
        if fact.is_queued and fact.reason in _NO_CAUSE:
            self.untold[fact.name] = None
        else:
            self.untold.pop(fact.name, None)
        columns, demand = self._columns, fact.demand
        for name in _COPIED:
            columns[name].values[row] = getattr(fact, name)
        columns["workers"].values[row] = demand.workers
        columns["cpu_millis"].values[row] = demand.worker.cpu_millis
        columns["memory_bytes"].values[row] = demand.worker.memory_bytes
        columns["gpu_millis"].values[row] = demand.worker.gpu_millis
        columns["gpu_type"].values[row] = self._gpu_types.code(demand.gpu_type)
        columns["queue"].values[row] = self.accounts.code(fact.queue, demand)
        columns["group"].values[row] = self._groups.code(fact.group)
        columns["allows_spot"].values[row] = demand.allows_spot
        columns["is_placed"].values[row] = bool(fact.shares)
        shares = [(self._node_row(share.node), share.workers, share.device) for share in fact.shares]
        self.freed_nodes.update(self.shares.replace(row, shares))

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
        self._ordered = None
        self.untold.pop(name, None)
        self._columns["is_queued"].values[row] = self._columns["is_placed"].values[row] = False
        self.freed_nodes.update(self.shares.replace(row, ()))
        self._free.append(row)

    def _new_row(self) -> int:
        self._count += 1
        if self._count > len(self._columns["name"].values):
            for column in self._columns.values():
                column.double()
        return self._count - 1
