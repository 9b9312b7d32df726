"""Plans the whole cluster anew: the most urgent jobs get it, with as few stops and moves as that takes.

1. Jobs are ranked by priority, then urgency. A running job counts as more urgent than it is, the more so
   the oftener it was preempted and the more work it would lose; a waiting one gains as it waits, keeps that
   once it runs, and comes first after the longest wait. Jobs in their minimum run, or preempted often
   enough, stay.
2. In that order, jobs are selected as long as their GPUs, CPUs and memory fit the cluster in total.
3. Selected jobs that run stay where they are. Selected jobs that wait are placed, widest first, where that
   stops the fewest; if what is free lies scattered, narrower jobs move (stop and start elsewhere) to clear
   a node.
4. Jobs that were not selected keep running if their room is still there, else they stop. What is left is
   offered to everybody who waits, in rank order.
"""

from collections.abc import Collection
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from mltrainer_scheduling.draft import Draft, by_priority, in_turn
from mltrainer_scheduling.jobs import Flags, Floats, Integers, JobTable
from mltrainer_scheduling.plan import Cause, Gate, PreemptionReason
from mltrainer_scheduling.room import Room, Shape, Spot
from mltrainer_scheduling.snapshot import Snapshot

_DAY_S = 86_400.0
# Of one GPU that somebody else must give up, in GPUs that placing badly would leave over.
_STOP_COST = 100.0


@dataclass(frozen=True, slots=True)
class Terms:
    """How reluctant preemption is.

    Attributes:
        reluctance: A waiting job must be more urgent than a running one by this part.
        reluctance_per_preemption: And by this part more for each time the running one was preempted.
        gain_per_day: A waiting job gains this part of urgency per day of waiting.
        longest_wait_s: Who has waited so long in one go is next among its priority, so that none starves.
        minimum_run_s: After a preemption, or the longest wait, a job makes progress for so long first.
        most_preemptions: Nobody is preempted more often.
        moves: Whether narrower jobs may move to clear nodes for wider ones.
    """

    reluctance: float = 0.0
    reluctance_per_preemption: float = 0.0
    gain_per_day: float = 0.0
    longest_wait_s: float = float("inf")
    minimum_run_s: float = 0.0
    most_preemptions: int = 1_000_000
    moves: bool = False


def drafted(
    snapshot: Snapshot,
    gate: Gate,
    urgency_s: Floats,
    terms: Terms,
    *,
    barred: Collection[int] = (),
    before: Draft | None = None,
) -> Draft:
    """Returns a draft; `urgency_s` is smaller for jobs that should run sooner, and the barred wait on."""
    jobs = snapshot.jobs
    draft = Draft(snapshot, gate, before)
    locked = _locked(jobs, snapshot.now_s, terms)
    draft.urgency_s = urgency_s
    draft.order = _ranked(snapshot, urgency_s, locked, terms)
    order = [row for row in draft.order if row not in barred] if barred else draft.order
    selected, held = _select(draft, order, locked)
    _Assignment(draft, order, selected, locked, terms).carry_out()
    for row in held:
        if row not in draft.starts:
            gate.stopped(draft.queue[row], draft.gang_millis[row])
    rest = [row for row in order if row not in draft.starts and (not jobs.running[row] or row in draft.stops)]
    in_turn(draft, rest, skips=True)
    forget_moves_to_the_same_place(draft)
    return draft


def _waited_s(jobs: JobTable, now_s: float) -> Floats:
    """Returns how long each job has waited in one go, a running one before it started."""
    since = np.where(np.isfinite(jobs.waiting_since_s), jobs.waiting_since_s, jobs.submit_s)
    return np.asarray(np.maximum(np.where(jobs.running, jobs.started_s, now_s) - since, 0.0))


def _locked(jobs: JobTable, now_s: float, terms: Terms) -> Flags:
    ran_s = np.where(jobs.running, now_s - jobs.started_s, np.inf)
    is_owed = (jobs.preemptions > 0) | (_waited_s(jobs, now_s) > terms.longest_wait_s)
    guaranteed_s = np.where(
        is_owed, np.maximum(jobs.minimum_run_s, jobs.restore_s + terms.minimum_run_s), jobs.minimum_run_s
    )
    return jobs.running & (
        ~jobs.preemptible | (jobs.preemptions >= terms.most_preemptions) | (ran_s < guaranteed_s)
    )


def _ranked(snapshot: Snapshot, urgency_s: Floats, locked: Flags, terms: Terms) -> list[int]:
    jobs = snapshot.jobs
    waited_s = _waited_s(jobs, snapshot.now_s)
    gain = terms.gain_per_day * waited_s / _DAY_S
    kept = terms.reluctance + terms.reluctance_per_preemption * jobs.preemptions
    # What a stop would lose counts against what is still expected; and nobody falls back by starting.
    kept = np.maximum(kept + jobs.unsaved_s / np.maximum(urgency_s, 1.0), gain)
    key = urgency_s / (1.0 + np.where(jobs.running, kept, gain))
    key[~jobs.running & (waited_s > terms.longest_wait_s)] = 0.0
    rows = np.flatnonzero(~locked)
    return np.flatnonzero(locked).tolist() + by_priority(snapshot, rows, [key, ~jobs.running])


def _select(draft: Draft, order: list[int], locked: Flags) -> tuple[set[int], list[int]]:
    """Returns who may run, and those of them that wait, for which the gate has been told."""
    jobs, nodes = draft.jobs, draft.snapshot.nodes
    usable = nodes.schedulable
    gpus_left = int(nodes.gpus[usable].sum()) * 1_000
    cpu_left, memory_left = int(nodes.cpu_millis[usable].sum()), int(nodes.memory_bytes[usable].sum())
    by_type = {
        label: int(nodes.gpus[usable & (nodes.gpu_type == label)].sum()) * 1_000
        for label in {shape.gpu_type for shape in draft.shapes}
        if label
    }
    needs = [_needs(shape) for shape in draft.shapes]
    is_running, is_locked = jobs.running.tolist(), locked.tolist()
    failed = {code for code, cause in enumerate(draft.lasting) if cause}
    waiting = [code for code, count in enumerate(np.bincount(np.array(draft.code)[~jobs.running])) if count]
    smallest = min((needs[code][0] for code in waiting if code not in failed), default=0)
    selected: set[int] = set()
    held: list[int] = []
    for row in order:
        code = draft.code[row]
        if code in failed and not is_locked[row]:
            continue
        gpus, cpu, memory = needs[code]
        label = draft.shapes[code].gpu_type
        fits = gpus <= gpus_left and cpu <= cpu_left and memory <= memory_left
        if not is_locked[row] and not (fits and (not label or gpus <= by_type[label])):
            failed.add(code)
            continue
        if not is_running[row]:
            if not draft.admits(row):
                draft.causes[row] = (Cause.QUOTA_EXHAUSTED, ())
                continue
            draft.gate.started(draft.queue[row], draft.gang_millis[row])
            held.append(row)
        selected.add(row)
        gpus_left, cpu_left, memory_left = gpus_left - gpus, cpu_left - cpu, memory_left - memory
        if label:
            by_type[label] -= gpus
        if smallest and gpus_left < smallest:
            break
    return selected, held


def _needs(shape: Shape) -> tuple[int, int, int]:
    millis = shape.workers * (shape.gpus * 1_000 + shape.part_millis)
    return millis, shape.workers * shape.cpu_millis, shape.workers * shape.memory_bytes


class _Assignment:
    """Gives the selected their nodes."""

    def __init__(
        self, draft: Draft, order: list[int], selected: set[int], locked: Flags, terms: Terms
    ) -> None:
        self._draft = draft
        self._order = order
        self._selected = selected
        self._locked = locked
        self._terms = terms
        self._rank = {row: rank for rank, row in enumerate(order)}
        # What is free without stopping anybody.
        self._free_now: Integers = draft.room.whole.copy()
        self._todo: list[tuple[float, int, int, int]] = []
        self._movable: _Movable | None = None

    def carry_out(self) -> None:
        """Places the selected, then stops those whose room is gone."""
        running = self._draft.jobs.running
        unselected = [row for row in self._order if running[row] and row not in self._selected]
        self._todo = [self._entry(row) for row in self._order if row in self._selected and not running[row]]
        if not self._todo:
            return
        room = self._draft.room
        for row in unselected:
            room.give_back(self._draft.shape(row), self._draft.spots(row))
        heapify(self._todo)
        while self._todo:
            self._place(self._next_alike())
        for row in unselected:
            shape, spots = self._draft.shape(row), self._draft.spots(row)
            if room.holds(shape, spots):
                room.take_back(shape, spots)
            else:
                self._draft.stopped(row, PreemptionReason.OUTRANKED)

    def _entry(self, row: int) -> tuple[float, int, int, int]:
        return (-self._draft.shape(row).gang_gpus, self._draft.code[row], self._rank[row], row)

    def _next_alike(self) -> list[int]:
        """Takes the widest, with all that have its shape."""
        first = heappop(self._todo)
        rows = [first[3]]
        while self._todo and self._todo[0][1] == first[1]:
            rows.append(heappop(self._todo)[3])
        return rows

    def _place(self, rows: list[int]) -> None:
        """Places jobs of one shape until one finds no room, and so would the others."""
        shape = self._draft.shape(rows[0])
        while rows:
            rows = self._fill(rows, shape)
            if not rows:
                return
            spots = self._draft.room.place(shape)
            if spots is None and self._terms.moves and self._clear(shape):
                spots = self._draft.room.place(shape, lambda nodes: self._cost(nodes, shape))
            if spots is None:
                return
            self._started(rows[0], spots)
            for node, workers, _ in spots:
                self._free_now[node] -= workers * shape.gpus
            rows = rows[1:]

    def _fill(self, rows: list[int], shape: Shape) -> list[int]:
        """Starts jobs on single nodes, cheapest first, and returns those that no single node can hold.

        A node that took one job is the cheapest for the next as well, as long as nobody need stop for it.
        """
        room, need = self._draft.room, shape.workers * shape.gpus
        while rows and need:
            slots = room.slots(shape)
            nodes = np.flatnonzero(slots >= shape.workers)
            if not len(nodes):
                break
            costs = self._cost(nodes, shape)
            for place in np.argsort(costs, kind="stable").tolist():
                node = int(nodes[place])
                is_free = costs[place] < _STOP_COST
                count = int(slots[node]) // shape.workers if is_free else 1
                if is_free:
                    count = min(count, int(self._free_now[node]) // need)
                spots = room.take_alike(shape, node, len(rows[:count]))
                for row in rows[:count]:
                    self._started(row, spots)
                self._free_now[node] -= need * len(rows[:count])
                rows = rows[count:]
                if not rows:
                    break
        return rows

    def _started(self, row: int, spots: list[Spot]) -> None:
        if row in self._draft.stops:
            self._draft.started(row, spots)
        else:
            self._draft.starts[row] = spots

    def _cost(self, rows: Integers, shape: Shape) -> Floats:
        need = shape.workers * shape.gpus
        missing = np.maximum(need - self._free_now[rows], 0)
        return missing * _STOP_COST + (self._draft.room.whole[rows] - need)

    def _clear(self, shape: Shape) -> bool:
        """Moves narrower jobs away from the node, or nodes, where that moves the fewest GPUs."""
        if not shape.gpus:
            return False
        if self._movable is None:
            self._movable = _Movable(self._draft, self._selected, self._locked)
        moved = self._movable.make_room(shape)
        for row in moved:
            self._draft.stop(row, PreemptionReason.MOVED)
            heappush(self._todo, self._entry(row))
        return bool(moved)


class _Movable:
    """Selected jobs that run on one node each and may be moved."""

    def __init__(self, draft: Draft, selected: set[int], locked: Flags) -> None:
        self._room: Room = draft.room
        jobs = draft.jobs
        nodes_of = np.bincount(jobs.share_job, minlength=len(jobs))
        rows = [
            row
            for row in selected
            if jobs.running[row] and not locked[row] and nodes_of[row] == 1 and draft.shape(row).gpus
        ]
        rows.sort()
        first = np.searchsorted(jobs.share_job, rows)
        self._row = np.array(rows, np.int64)
        self._node = jobs.share_node[first] if rows else np.zeros(0, np.int64)
        self._gpus = np.array([int(draft.shape(row).gang_gpus) for row in rows], np.int64)
        self._is_here = np.ones(len(rows), np.bool_)

    def make_room(self, shape: Shape) -> list[int]:
        """Returns whom to move so that a gang fits, nobody if that does not help."""
        size = int(self._room.largest_slots(shape).max(initial=0)) * shape.gpus
        need = shape.workers * shape.gpus
        if need <= size:
            return self._from_node(shape, need, need)
        if not shape.compact:
            return []
        return self._from_nodes(shape, -(-need // size), size)

    def _freeable(self, shape: Shape, below: int) -> tuple[Flags, Integers]:
        able = self._is_here & (self._gpus < below)
        amounts = np.bincount(self._node[able], self._gpus[able], len(self._room.whole)).astype(np.int64)
        return able, np.where(self._room.usable(shape), self._room.whole + amounts, -1)

    def _from_node(self, shape: Shape, need: int, below: int) -> list[int]:
        able, freeable = self._freeable(shape, below)
        possible = np.flatnonzero(freeable >= need)
        if not len(possible):
            return []
        node = int(possible[np.argmax(self._room.whole[possible])])
        return self._leave(able, node, need)

    def _from_nodes(self, shape: Shape, count: int, size: int) -> list[int]:
        able, freeable = self._freeable(shape, size + 1)
        possible = np.flatnonzero(freeable >= size)
        if len(possible) < count:
            return []
        best = possible[np.argsort(-self._room.whole[possible], kind="stable")[:count]]
        return [row for node in best.tolist() for row in self._leave(able, node, size)]

    def _leave(self, able: Flags, node: int, need: int) -> list[int]:
        """Picks jobs of one node, the narrowest that suffice."""
        missing = need - int(self._room.whole[node])
        here = np.flatnonzero(able & (self._node == node))
        chosen: list[int] = []
        for one in here[np.argsort(self._gpus[here], kind="stable")].tolist():
            if missing <= 0:
                break
            missing -= int(self._gpus[one])
            chosen.append(one)
        for one in chosen[::-1]:
            if missing + int(self._gpus[one]) <= 0:
                missing += int(self._gpus[one])
                chosen.remove(one)
        self._is_here[chosen] = False
        return [int(self._row[one]) for one in chosen]


def forget_moves_to_the_same_place(draft: Draft) -> None:
    """Leaves jobs alone that would stop and start where they are."""
    for row in list(draft.stops):
        spots: list[Spot] | None = draft.starts.get(row)
        if spots is not None and sorted(spots) == sorted(draft.spots(row)):
            del draft.starts[row], draft.stops[row]
