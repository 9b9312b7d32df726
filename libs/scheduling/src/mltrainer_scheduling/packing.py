"""Packing: which node, and which device of it, a task should take so that least GPU is wasted later.

Costs are differences of a node's expected waste (`fragmentation.WasteModel`), so lower is better and they
compare across nodes and tasks. `placement_costs` is the pure entry for a scheduler.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mltrainer_scheduling.fragmentation import FreeNodes, TaskShape, WasteModel, fits
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Flags, Floats, Integers

NO_DEVICE = -1


@dataclass(frozen=True, slots=True)
class Costs:
    """Cost of each node, infinite where there is no room, and the device a shared task would take."""

    cost: Floats
    device: Integers

    def cheapest(self) -> int:
        """Returns the first of the cheapest nodes, or -1 where none fits."""
        node = int(np.argmin(self.cost)) if len(self.cost) else NO_DEVICE
        return node if node >= 0 and np.isfinite(self.cost[node]) else NO_DEVICE


class Scorer(Protocol):
    """Prices placements; `rows` selects nodes, all of which have room."""

    def price(self, shape: TaskShape, nodes: FreeNodes, rows: Integers) -> tuple[Floats, Integers]:
        """Returns cost and device for each of the nodes."""
        ...


@dataclass(frozen=True, slots=True)
class WasteScorer:
    """Prices a placement by what it adds to the expected waste.

    With `published` the prices are the integers from 0 to 100 of the FGD artefact; ties go to the first node.
    """

    model: WasteModel
    published: bool = False

    def price(self, shape: TaskShape, nodes: FreeNodes, rows: Integers) -> tuple[Floats, Integers]:
        """Returns what the task adds to each node's waste, and the device that adds least."""
        sums = self.model.device_sums(nodes.gpu_millis[rows])
        kind = self.model.type_codes(nodes.gpu_type[rows]) if self.model.gpu_types else np.zeros_like(rows)
        gpu_millis, cpu_millis, memory_bytes = (
            nodes.gpu_millis[rows],
            nodes.cpu_millis[rows],
            nodes.memory_bytes[rows],
        )
        before = self.model.waste(sums, cpu_millis, memory_bytes, kind)
        cpu, memory = cpu_millis - shape.cpu_millis, memory_bytes - shape.memory_bytes
        if shape.gpus != 1 or shape.gpu_millis == WHOLE_GPU_MILLIS:
            after = self.model.waste(
                sums - shape.gpus * self.model.device[WHOLE_GPU_MILLIS], cpu, memory, kind
            )
            return self._rounded(after - before), np.full(len(sums), NO_DEVICE, np.int64)
        row, device = np.nonzero(_distinct(gpu_millis, shape.gpu_millis))
        left = gpu_millis[row, device]
        shared = sums[row] - self.model.device[left] + self.model.device[left - shape.gpu_millis]
        added = self.model.waste(shared, cpu[row], memory[row], kind[row]) - before[row]
        return _least(self._rounded(added), row, device, len(sums))

    def _rounded(self, added: Floats) -> Floats:
        if not self.published:
            return added
        return -np.floor(100.0 / (1.0 + np.exp(np.clip(added / WHOLE_GPU_MILLIS, -50.0, 50.0))))


def placement_costs(model: WasteModel, nodes: FreeNodes, shape: TaskShape) -> Costs:
    """Prices one task on every node: what it would add to the expected waste there."""
    return scored_costs(WasteScorer(model), nodes, shape)


def scored_costs(scorer: Scorer, nodes: FreeNodes, shape: TaskShape) -> Costs:
    """Prices one task on every node with any scorer."""
    cost = np.full(len(nodes), np.inf)
    device = np.full(len(nodes), NO_DEVICE, np.int64)
    rows = np.flatnonzero(fits(shape, nodes))
    if len(rows):
        cost[rows], device[rows] = scorer.price(shape, nodes, rows)
    return Costs(cost, device)


def devices_taken(shape: TaskShape, gpu_millis: Integers, device: int) -> Integers:
    """Returns the devices of a node that a task takes: the shared one, or the first idle ones."""
    if shape.gpus == 0:
        return np.zeros(0, np.int64)
    if shape.gpu_millis < WHOLE_GPU_MILLIS:
        return np.array([device], np.int64)
    return np.flatnonzero(gpu_millis == WHOLE_GPU_MILLIS)[: shape.gpus]


def hold_back(shapes: Sequence[TaskShape], seen: Sequence[int]) -> Floats:
    """Returns the GPU, in thousandths, that a task of each shape wastes however well it is packed.

    Fills devices with the tasks seen, largest first, each gap with the largest that fits, and charges what
    stays free to the tasks on the device by size. Given a queue to choose from, the wasteful go last.
    """
    number = np.zeros(WHOLE_GPU_MILLIS + 1)
    for shape, count in zip(shapes, seen, strict=True):
        if shape.gpus == 1 and shape.gpu_millis < WHOLE_GPU_MILLIS:
            number[shape.gpu_millis] += count
    left, waste = number.copy(), np.zeros(WHOLE_GPU_MILLIS + 1)
    for size in range(WHOLE_GPU_MILLIS - 1, 0, -1):
        while left[size] > 0:
            sizes, uses, free = _fill(size, left)
            devices = float(np.min(left[sizes] / uses))
            waste[sizes] += devices * free * uses * sizes / (WHOLE_GPU_MILLIS - free)
            left[sizes] -= devices * uses
            left[left < 1e-6] = 0.0
    each = np.divide(waste, number, out=np.zeros_like(waste), where=number > 0)
    return np.array([each[s.gpu_millis] if s.gpus == 1 else 0.0 for s in shapes])


def _fill(first: int, left: Floats) -> tuple[Integers, Integers, int]:
    uses: dict[int, int] = {}
    free, size = WHOLE_GPU_MILLIS, first
    while size > 0:
        if left[size] > 0 and size <= free:
            uses[size] = uses.get(size, 0) + 1
            free -= size
        size = min(size, free) if left[min(size, free)] > 0 else min(size, free) - 1
    return np.array(list(uses), np.int64), np.array(list(uses.values()), np.int64), free


def _distinct(gpu_millis: Integers, wanted: int) -> Flags:
    """Marks devices with room, of the idle ones only the first: they are alike."""
    room = gpu_millis >= wanted
    idle = gpu_millis == WHOLE_GPU_MILLIS
    return np.asarray(room & ~(idle & (np.cumsum(idle, axis=1) > 1)))


def _least(cost: Floats, row: Integers, device: Integers, rows: int) -> tuple[Floats, Integers]:
    order = np.lexsort((device, cost, row))
    first = order[np.unique(row[order], return_index=True)[1]]
    least, chosen = np.full(rows, np.inf), np.full(rows, NO_DEVICE, np.int64)
    least[row[first]], chosen[row[first]] = cost[first], device[first]
    return least, chosen
