"""Replays a workload into a cluster by the method of the FGD paper and counts the GPUs nobody can use.

Tasks arrive in shuffled order until they ask for a multiple of the cluster's GPUs; none departs; one that
fits nowhere is dropped, one that fits is placed. With look-ahead the policy sees that many pending tasks and
picks one of them.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mltrainer_scheduling.fragmentation import FreeNodes, TaskShape
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Floats, Integers
from mltrainer_scheduling.packing import NO_DEVICE, Scorer, devices_taken, hold_back, scored_costs
from mltrainer_scheduling.packing_policies import PackingPolicy, learns, scorer_for

# Prices are learned anew whenever the number of tasks seen has doubled.
_FIRST_LESSON = 16


@dataclass(frozen=True, slots=True)
class Workload:
    """Distinct shapes and, for each task of a trace, which of them it is."""

    shapes: tuple[TaskShape, ...]
    tasks: Integers

    @classmethod
    def of(cls, tasks: Sequence[TaskShape]) -> "Workload":
        """Groups tasks by shape."""
        rows: dict[TaskShape, int] = {}
        each = [rows.setdefault(task, len(rows)) for task in tasks]
        return cls(tuple(rows), np.array(each, np.int64))


@dataclass(frozen=True, slots=True)
class PackingResult:
    """What one run left; `lost_wide_gpus` is asked for by tasks of several GPUs that fitted nowhere."""

    allocated_gpus: float
    unallocated_gpus: float
    requested_gpus: float
    lost_wide_gpus: float
    placed: int
    dropped: int
    decisions_per_s: float
    curve: tuple[tuple[float, float], ...]

    @property
    def allocation_ratio(self) -> float:
        """Allocated GPUs as a share of all."""
        total = self.allocated_gpus + self.unallocated_gpus
        return self.allocated_gpus / total if total else 0.0


def arrivals(workload: Workload, gpus: int, demand_ratio: float, random: np.random.Generator) -> Integers:
    """Shuffles the tasks and draws more of them until they ask for so many times the GPUs.

    Raises:
        ValueError: No task asks for a GPU, so that no number of them would do.
    """
    size = np.array([s.gpus * s.gpu_millis for s in workload.shapes], np.int64)
    wanted = demand_ratio * gpus * WHOLE_GPU_MILLIS
    asked = int(size[workload.tasks].sum())
    if asked <= 0:
        raise ValueError("no task of the workload asks for a GPU")
    order = random.permutation(workload.tasks)
    while asked < wanted:
        more = random.choice(workload.tasks, max(1, len(workload.tasks) // 4))
        order = np.concatenate([order, more])
        asked += int(size[more].sum())
    return np.asarray(order[: int(np.searchsorted(np.cumsum(size[order]), wanted)) + 1])


def simulate_packing(
    capacity: FreeNodes,
    workload: Workload,
    policy: PackingPolicy = PackingPolicy.DEFAULT,
    *,
    seed: int = 0,
    look_ahead: int = 1,
    demand_ratio: float = 1.3,
    know_workload: bool | None = None,
) -> PackingResult:
    """Fills the cluster once; our policy learns the workload as it arrives, FGD knows it like in its paper.

    Raises:
        ValueError: The look-ahead is below one, or no task asks for a GPU.
    """
    if look_ahead < 1:
        raise ValueError("the look-ahead is at least one task")
    random = np.random.default_rng(seed)
    gpus = int((capacity.gpu_millis > 0).sum())
    run = _Run(capacity, workload, policy, random)
    known = know_workload if know_workload is not None else policy is not PackingPolicy.DEFAULT
    order = arrivals(workload, gpus, demand_ratio, random)
    if known:
        run.learn(np.bincount(workload.tasks, minlength=len(workload.shapes)))
    started_s = time.process_time()
    run.play(order, look_ahead, learning=not known)
    return run.result(order, time.process_time() - started_s)


class _Run:
    def __init__(
        self, capacity: FreeNodes, workload: Workload, policy: PackingPolicy, random: np.random.Generator
    ) -> None:
        self._capacity, self._shapes, self._policy, self._random = capacity, workload.shapes, policy, random
        self._free = FreeNodes(
            capacity.gpu_millis.copy(),
            capacity.cpu_millis.copy(),
            capacity.memory_bytes.copy(),
            capacity.gpu_type,
        )
        self._gpus = np.array([s.gpus * s.gpu_millis for s in workload.shapes]) / WHOLE_GPU_MILLIS
        self._bound: Floats = np.zeros(len(workload.shapes))
        self._prices = _Prices(self._free, workload.shapes, scorer_for(policy, {TaskShape(): 1}, capacity))
        self._placed = 0
        self._lost_wide = 0.0
        self._curve: list[tuple[float, float]] = []
        self._requested = self._allocated = 0.0

    def learn(self, seen: Integers) -> None:
        counts = {shape: int(n) for shape, n in zip(self._shapes, seen, strict=True) if n}
        self._prices = _Prices(self._free, self._shapes, scorer_for(self._policy, counts, self._capacity))
        self._bound = hold_back(self._shapes, [int(n) for n in seen])

    def play(self, order: Integers, look_ahead: int, *, learning: bool) -> None:
        seen = np.zeros(len(self._shapes), np.int64)
        window: Counter[int] = Counter()
        next_lesson, arrived, sample = 1, 0, max(1, len(order) // 200)
        while arrived < len(order) or window:
            while arrived < len(order) and window.total() < look_ahead:
                row = int(order[arrived])
                window[row] += 1
                seen[row] += 1
                arrived += 1
                self._requested += self._gpus[row]
                if arrived % sample == 0:
                    self._curve.append((self._requested, self._allocated))
            if learning and learns(self._policy) and arrived >= next_lesson:
                self.learn(seen)
                next_lesson = max(_FIRST_LESSON, 2 * arrived)
            self._step(window)

    def _step(self, window: Counter[int]) -> None:
        chosen, best, key = NO_DEVICE, NO_DEVICE, np.inf
        for row in list(window):
            node = self._choose(row)
            if node == NO_DEVICE:
                self._drop(row, window.pop(row))
            elif (price := self._prices.cost[row, node] + self._bound[row]) < key:
                chosen, best, key = row, node, price
        if chosen == NO_DEVICE:
            return
        window[chosen] -= 1
        if not window[chosen]:
            del window[chosen]
        self._place(chosen, best)

    def _choose(self, row: int) -> int:
        cost = self._prices.refresh(row)
        if self._policy is PackingPolicy.RANDOM:
            room = np.flatnonzero(np.isfinite(cost))
            return int(self._random.choice(room)) if len(room) else NO_DEVICE
        node = int(np.argmin(cost))
        return node if np.isfinite(cost[node]) else NO_DEVICE

    def _place(self, row: int, node: int) -> None:
        shape, free = self._shapes[row], self._free
        taken = devices_taken(shape, free.gpu_millis[node], int(self._prices.device[row, node]))
        free.gpu_millis[node, taken] -= shape.gpu_millis
        free.cpu_millis[node] -= shape.cpu_millis
        free.memory_bytes[node] -= shape.memory_bytes
        self._prices.changed(node)
        self._placed += 1
        self._allocated += self._gpus[row]

    def _drop(self, row: int, number: int) -> None:
        self._lost_wide += number * self._gpus[row] if self._shapes[row].gpus > 1 else 0.0

    def result(self, order: Integers, elapsed_s: float) -> PackingResult:
        free = self._free
        if min(free.gpu_millis.min(), free.cpu_millis.min(), free.memory_bytes.min()) < 0:
            raise AssertionError("a node holds more than it has")
        return PackingResult(
            allocated_gpus=float((self._capacity.gpu_millis - free.gpu_millis).sum()) / WHOLE_GPU_MILLIS,
            unallocated_gpus=float(free.gpu_millis.sum()) / WHOLE_GPU_MILLIS,
            requested_gpus=float(self._gpus[order].sum()),
            lost_wide_gpus=self._lost_wide,
            placed=self._placed,
            dropped=len(order) - self._placed,
            decisions_per_s=len(order) / elapsed_s,
            curve=tuple(self._curve),
        )


class _Prices:
    """Costs of every shape on every node, each row brought up to date when its shape is next looked at."""

    def __init__(self, free: FreeNodes, shapes: Sequence[TaskShape], scorer: Scorer) -> None:
        self._free, self._shapes, self._scorer = free, shapes, scorer
        self.cost: Floats = np.full((len(shapes), len(free)), np.inf)
        self.device: Integers = np.full((len(shapes), len(free)), NO_DEVICE, np.int64)
        self._log: list[int] = []
        self._read = [-1] * len(shapes)

    def changed(self, node: int) -> None:
        self._log.append(node)

    def refresh(self, row: int) -> Floats:
        read, self._read[row] = self._read[row], len(self._log)
        if read < 0 or len(self._log) - read > len(self._free):
            fresh = scored_costs(self._scorer, self._free, self._shapes[row])
            self.cost[row], self.device[row] = fresh.cost, fresh.device
        elif read < len(self._log):
            nodes = np.array(sorted(set(self._log[read:])), np.int64)
            nodes = nodes[np.isfinite(self.cost[row, nodes])]
            self._reprice(row, nodes)
        return np.asarray(self.cost[row])

    def _reprice(self, row: int, nodes: Integers) -> None:
        some = FreeNodes(
            self._free.gpu_millis[nodes],
            self._free.cpu_millis[nodes],
            self._free.memory_bytes[nodes],
            self._free.gpu_type[nodes],
        )
        costs = scored_costs(self._scorer, some, self._shapes[row])
        self.cost[row, nodes], self.device[row, nodes] = costs.cost, costs.device
