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

    def __init__(self, snapshot: Snapshot, gate: Gate) -> None:
        self.snapshot = snapshot
        self.jobs = snapshot.jobs
        self.gate = gate
        self.shapes, codes = shape_codes(snapshot.jobs)
        self.code: list[int] = codes.tolist()
        is_shared = bool((snapshot.jobs.gpu_millis % WHOLE_GPU_MILLIS != 0).any())
        self.room = Room(snapshot.nodes, is_shared=is_shared)
        self.lasting = [lasting_cause(self.room, shape) for shape in self.shapes]
        self.starts: dict[int, list[Spot]] = {}
        self.stops: dict[int, PreemptionReason] = {}
        self.causes: dict[int, tuple[Cause, tuple[int, ...]]] = {}
        self._bounds: Integers | None = None

    def shape(self, row: int) -> Shape:
        """Returns the shape of a job."""
        return self.shapes[self.code[row]]

    def spots(self, row: int) -> list[Spot]:
        """Returns where a running job runs."""
        jobs = self.jobs
        if self._bounds is None:
            self._bounds = np.searchsorted(jobs.share_job, np.arange(len(jobs) + 1))
        here = slice(int(self._bounds[row]), int(self._bounds[row + 1]))
        return list(
            zip(
                jobs.share_node[here].tolist(),
                jobs.share_workers[here].tolist(),
                jobs.share_device[here].tolist(),
                strict=True,
            )
        )

    def admits(self, row: int) -> bool:
        """Asks the gate."""
        return self.gate.admits(self._queue(row), int(self.jobs.gang_gpu_millis[row]))

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
        self.gate.started(self._queue(row), int(self.jobs.gang_gpu_millis[row]))

    def stop(self, row: int, reason: PreemptionReason) -> None:
        """Stops a running job and frees what it holds."""
        self.stops[row] = reason
        self.room.give_back(self.shape(row), self.spots(row))
        self.gate.stopped(self._queue(row), int(self.jobs.gang_gpu_millis[row]))

    def _queue(self, row: int) -> str:
        queue: str = self.jobs.queues[self.jobs.queue[row]]
        return queue

    def plan(self, review_s: float = float("inf")) -> Plan:
        """Returns the plan, with a cause for every job that was pending and stays so."""
        names = self.jobs.job_id
        starts = tuple(
            Start(str(names[row]), tuple(Share(self._node(spot[0]), spot[1], spot[2]) for spot in spots))
            for row, spots in self.starts.items()
        )
        return Plan(starts, self._preemptions(), self._waits(), review_s)

    def _node(self, row: int) -> str:
        return str(self.snapshot.nodes.name[row])

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
        holders: dict[int, tuple[int, ...]] = {}
        pending = [row for row in self.snapshot.pending.tolist() if row not in self.starts]
        for row, name in zip(pending, self.jobs.job_id[pending].tolist(), strict=True):
            code = self.code[row]
            key: object = self.causes.get(row, code)
            wait = shared.get(key)
            if wait is None:
                cause, blockers = self.causes.get(row) or self._cause(code)
                if not cause.is_lasting and not blockers:
                    if code not in holders:
                        holders[code] = self._holders(code)
                    blockers = holders[code]
                wait = shared[key] = Wait(cause, tuple(str(self.jobs.job_id[one]) for one in blockers))
            waits[name] = wait
        return waits

    def _cause(self, code: int) -> tuple[Cause, tuple[int, ...]]:
        lasting = self.lasting[code]
        return (lasting or passing_cause(self.room, self.shapes[code])), ()

    def _holders(self, code: int) -> tuple[int, ...]:
        usable = self.room.usable(self.shapes[code])
        jobs = self.jobs
        kept = np.unique(jobs.share_job[usable[jobs.share_node]]).tolist()
        rows = [row for row in kept if row not in self.stops]
        rows += [row for row, spots in self.starts.items() if usable[spots[0][0]]]
        millis = jobs.gang_gpu_millis
        return tuple(sorted(rows, key=lambda row: (-int(millis[row]), row))[:_MOST_BLOCKERS])


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
