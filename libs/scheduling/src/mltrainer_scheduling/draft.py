"""A plan in the making: room, starts, preemptions, and the reasons of those who wait."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltrainer_scheduling.causes import lasting_cause, passing_cause
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Integers, Share
from mltrainer_scheduling.plan import Cause, Gate, Plan, Preemption, PreemptionReason, Start, Wait
from mltrainer_scheduling.room import Cost, Room, Shape, Spot, shape_codes
from mltrainer_scheduling.snapshot import Snapshot

_MOST_BLOCKERS = 10


class Draft:
    """Collects decisions; whatever it hands out as room is really there."""

    def __init__(self, snapshot: Snapshot, gate: Gate, before: "Draft | None" = None) -> None:
        """Begins a draft; one of the same jobs and nodes `before` spares it what has not changed."""
        self.snapshot = snapshot
        self.jobs = snapshot.jobs
        self.gate = gate
        is_shared = bool((snapshot.jobs.gpu_millis % WHOLE_GPU_MILLIS != 0).any())
        self.room = Room(snapshot.nodes, is_shared=is_shared, jobs=snapshot.jobs)
        if before is None:
            self.gang_millis: list[int] = snapshot.jobs.gang_gpu_millis.tolist()
            self.queue: list[str] = [snapshot.jobs.queues[code] for code in snapshot.jobs.queue.tolist()]
            self.shapes, codes = shape_codes(snapshot.jobs)
            self.code: list[int] = codes.tolist()
            self.lasting = [lasting_cause(self.room, shape) for shape in self.shapes]
        else:
            self.gang_millis, self.queue = before.gang_millis, before.queue
            self.shapes, self.code, self.lasting = before.shapes, before.code, before.lasting
        self.starts: dict[int, list[Spot]] = {}
        self.stops: dict[int, PreemptionReason] = {}
        self.causes: dict[int, tuple[Cause, tuple[int, ...]]] = {}
        self._shares: tuple[list[int], list[Spot]] | None = None
        self.order: list[int] = []
        self.urgency_s: NDArray[np.float64] | None = None

    def shape(self, row: int) -> Shape:
        """Returns the shape of a job."""
        return self.shapes[self.code[row]]

    def spots(self, row: int) -> list[Spot]:
        """Returns where a running job runs."""
        if self._shares is None:
            jobs = self.jobs
            columns = (jobs.share_node.tolist(), jobs.share_workers.tolist(), jobs.share_device.tolist())
            bounds = np.searchsorted(jobs.share_job, np.arange(len(jobs) + 1)).tolist()
            self._shares = bounds, list(zip(*columns, strict=True))
        bounds, spots = self._shares
        return spots[bounds[row] : bounds[row + 1]]

    def amend(
        self, snapshot: Snapshot, starts: dict[int, list[Spot]], stops: dict[int, PreemptionReason]
    ) -> None:
        """Becomes the draft of another snapshot of the same jobs, in which more had to be changed."""
        self.snapshot, self.jobs, self._shares = snapshot, snapshot.jobs, None
        self.starts, self.stops = starts, stops

    def admits(self, row: int) -> bool:
        """Asks the gate."""
        return self.gate.admits(self.queue[row], self.gang_millis[row])

    def start(self, row: int, cost: Cost | None = None) -> bool:
        """Starts a job if there is room for it."""
        spots = self.room.place(self.shape(row), cost)
        if spots is None:
            return False
        self.started(row, spots)
        return True

    def started(self, row: int, spots: list[Spot]) -> None:
        """Records a start in room that was taken already."""
        self.starts[row] = spots
        self.gate.started(self.queue[row], self.gang_millis[row])

    def stop(self, row: int, reason: PreemptionReason) -> None:
        """Stops a running job and frees what it holds."""
        self.room.give_back(self.shape(row), self.spots(row))
        self.stopped(row, reason)

    def stopped(self, row: int, reason: PreemptionReason) -> None:
        """Records a stop of a job whose room was freed already."""
        self.stops[row] = reason
        self.gate.stopped(self.queue[row], self.gang_millis[row])

    def plan(self, review_s: float = float("inf")) -> Plan:
        """Returns the plan, with a cause for every job that was pending and stays so."""
        names = self.jobs.job_id
        nodes = self.snapshot.nodes.name.tolist()
        # Thousands of starts have the same few places.
        places: dict[tuple[Spot, ...], tuple[Share, ...]] = {}
        starts = []
        for row, spots in self.starts.items():
            where = tuple(spots)
            shares = places.get(where)
            if shares is None:
                shares = places[where] = tuple(Share(nodes[node], *rest) for node, *rest in spots)
            starts.append(Start(str(names[row]), shares))
        order = tuple(names[self.order].tolist()) if self.order else ()
        urgency = () if self.urgency_s is None else tuple(self.urgency_s[self.order].tolist())
        return Plan(tuple(starts), self._preemptions(), self._waits(), review_s, order, urgency)

    def _preemptions(self) -> tuple[Preemption, ...]:
        if not self.stops:
            return ()
        taken_by: dict[int, str] = {}
        for row, spots in self.starts.items():
            if row not in self.stops:
                for node, _, _ in spots:
                    taken_by.setdefault(node, str(self.jobs.job_id[row]))
        return tuple(
            Preemption(
                str(self.jobs.job_id[row]),
                reason,
                next((taken_by[node] for node, _, _ in self.spots(row) if node in taken_by), ""),
            )
            for row, reason in self.stops.items()
        )

    def _waits(self) -> dict[str, Wait]:
        waits: dict[str, Wait] = {}
        shared: dict[object, Wait] = {}
        holders: dict[tuple[str, bool], tuple[int, ...]] = {}
        pending = [row for row in self.snapshot.pending.tolist() if row not in self.starts]
        for row, name in zip(pending, self.jobs.job_id[pending].tolist(), strict=True):
            code = self.code[row]
            key: object = self.causes.get(row, code)
            wait = shared.get(key)
            if wait is None:
                cause, blockers = self.causes.get(row) or self._cause(code)
                if not cause.is_lasting and not blockers:
                    shape = self.shapes[code]
                    whose = (shape.gpu_type, shape.allows_spot)
                    if whose not in holders:
                        holders[whose] = self._holders(code)
                    blockers = holders[whose]
                wait = shared[key] = Wait(cause, tuple(str(self.jobs.job_id[one]) for one in blockers))
            waits[name] = wait
        return waits

    def _cause(self, code: int) -> tuple[Cause, tuple[int, ...]]:
        lasting = self.lasting[code]
        return (lasting or passing_cause(self.room, self.shapes[code])), ()

    def _holders(self, code: int) -> tuple[int, ...]:
        """Returns the widest jobs on nodes that such a gang could use."""
        usable = self.room.usable(self.shapes[code])
        jobs = self.jobs
        holds = np.zeros(len(jobs), np.bool_)
        holds[jobs.share_job[usable[jobs.share_node]]] = True
        holds[list(self.stops)] = False
        started = list(self.starts)
        if started:
            first = np.array([spots[0][0] for spots in self.starts.values()])
            holds[started] = usable[first]
        rows = np.flatnonzero(holds)
        widest = rows[np.argsort(-jobs.gang_gpu_millis[rows], kind="stable")[:_MOST_BLOCKERS]]
        return tuple(widest.tolist())


def in_turn(draft: Draft, rows: Iterable[int], *, skips: bool) -> None:
    """Starts jobs in the order given; whoever does not fit is skipped, or holds back all behind it."""
    failed: set[int] = {code for code, cause in enumerate(draft.lasting) if cause}
    head: int | None = None
    for row in rows:
        code = draft.code[row]
        if head is not None:
            draft.causes[row] = (Cause.BEHIND_OTHERS, (head,))
        elif code in failed:
            continue
        elif not draft.admits(row):
            draft.causes[row] = (Cause.QUOTA_EXHAUSTED, ())
        elif not draft.start(row):
            failed.add(code)
            head = None if skips else row


def by_priority(snapshot: Snapshot, rows: Integers, keys: Sequence[NDArray[Any]]) -> list[int]:
    """Orders jobs by priority, then the keys, then age."""
    jobs = snapshot.jobs
    columns = [np.arange(len(rows)), jobs.submit_s[rows], *(key[rows] for key in reversed(keys))]
    order = np.lexsort((*columns, -jobs.priority[rows]))
    ordered: list[int] = rows[order].tolist()
    return ordered
