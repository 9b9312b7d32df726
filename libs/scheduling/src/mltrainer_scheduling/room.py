"""What is free while a plan is being made, and where a gang fits."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Flags, Floats, Integers, JobTable
from mltrainer_scheduling.layout import Layout
from mltrainer_scheduling.nodes import NodeTable

PLENTY = 1 << 40

Spot = tuple[int, int, int]
"""Row of a node, workers on it, and the device a fractional worker shares or -1."""

Cost = Callable[[Integers], Floats]


@dataclass(frozen=True, slots=True)
class Shape:
    """What makes gangs interchangeable: equal workers, equal needs, equal demands on where they lie."""

    workers: int
    gpus: int
    part_millis: int
    cpu_millis: int
    memory_bytes: int
    gpu_type: str
    allows_spot: bool
    compact: bool

    @property
    def gang_gpus(self) -> float:
        """GPUs of the whole gang."""
        return self.workers * (self.gpus + self.part_millis / WHOLE_GPU_MILLIS)


def shape_codes(jobs: JobTable) -> tuple[tuple[Shape, ...], NDArray[np.int64]]:
    """Returns the shapes of a table, and which one each job has."""
    columns = (
        jobs.workers,
        jobs.gpu_millis,
        jobs.cpu_millis,
        jobs.memory_bytes,
        jobs.gpu_type,
        jobs.allows_spot.astype(np.int64),
        jobs.compact.astype(np.int64),
    )
    mixed = np.zeros(len(jobs), np.uint64)
    for column in columns:
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    _, first, code = np.unique(mixed, return_index=True, return_inverse=True)
    return tuple(_shape(jobs, int(row)) for row in first), code.astype(np.int64)


def _shape(jobs: JobTable, row: int) -> Shape:
    millis = int(jobs.gpu_millis[row])
    is_part = millis < WHOLE_GPU_MILLIS
    return Shape(
        int(jobs.workers[row]),
        0 if is_part else -(-millis // WHOLE_GPU_MILLIS),
        millis if is_part else 0,
        int(jobs.cpu_millis[row]),
        int(jobs.memory_bytes[row]),
        jobs.gpu_types[jobs.gpu_type[row]],
        bool(jobs.allows_spot[row]),
        bool(jobs.compact[row]),
    )


class Room:
    """Free amounts per node, changed as gangs are placed and taken away.

    `whole` counts GPUs that are entirely free. Devices are told apart only where a job shares one. Jobs of
    whole GPUs have no devices of their own: on nodes where they are known to lie on the first that nobody
    shares (`Layout`), devices are laid out anew with each change. On others, what they give back counts as
    whole, and can be shared from the next plan on.
    """

    def __init__(
        self,
        nodes: NodeTable,
        *,
        is_shared: bool,
        is_empty: bool = False,
        jobs: JobTable | None = None,
    ) -> None:
        self._nodes = nodes
        free = nodes.free_gpu_millis
        if is_empty:
            free = (np.arange(free.shape[1]) < nodes.gpus[:, None]) * WHOLE_GPU_MILLIS
        self.whole: Integers = (free >= WHOLE_GPU_MILLIS).sum(axis=1)
        self.cpu = (nodes.cpu_millis if is_empty else nodes.free_cpu_millis).copy()
        self.memory = (nodes.memory_bytes if is_empty else nodes.free_memory_bytes).copy()
        self.devices = free.copy() if is_shared else None
        self.layout = Layout.of(jobs, nodes) if jobs is not None and is_shared else None
        self._usable: dict[tuple[str, bool], Flags] = {}
        self._largest: dict[Shape, Integers] = {}

    def copy(self) -> "Room":
        """Returns room to try things in."""
        other = copy(self)
        other.whole, other.cpu, other.memory = self.whole.copy(), self.cpu.copy(), self.memory.copy()
        other.devices = None if self.devices is None else self.devices.copy()
        other.layout = None if self.layout is None else self.layout.copy()
        return other

    def usable(self, shape: Shape) -> Flags:
        """Tells which nodes take such workers at all."""
        key = (shape.gpu_type, shape.allows_spot)
        found = self._usable.get(key)
        if found is None:
            nodes = self._nodes
            found = nodes.schedulable.copy()
            if shape.gpu_type:
                found &= nodes.gpu_type == shape.gpu_type
            if not shape.allows_spot:
                found &= ~nodes.spot
            self._usable[key] = found
        return found

    def slots(self, shape: Shape) -> Integers:
        """Returns how many workers each node has room for."""
        if shape.gpus:
            slots = self.whole // shape.gpus
        elif shape.part_millis and self.devices is not None:
            slots = (self.devices // shape.part_millis).sum(axis=1)
        else:
            slots = np.full(len(self.whole), PLENTY)
        if shape.cpu_millis:
            slots = np.minimum(slots, self.cpu // shape.cpu_millis)
        if shape.memory_bytes:
            slots = np.minimum(slots, self.memory // shape.memory_bytes)
        return np.where(self.usable(shape), np.maximum(slots, 0), 0)

    def largest_slots(self, shape: Shape) -> Integers:
        """Returns how many workers each node could hold if it were empty."""
        found = self._largest.get(shape)
        if found is None:
            empty = Room(self._nodes, is_shared=self.devices is not None, is_empty=True)
            found = self._largest[shape] = empty.slots(shape)
        return found

    def place(self, shape: Shape, cost: Cost | None = None) -> list[Spot] | None:
        """Finds room for a gang and takes it; nothing changes if there is none.

        One node that holds all is preferred: the one of the least cost, by default the fullest.
        """
        slots = self.slots(shape)
        single = np.flatnonzero(slots >= shape.workers)
        if len(single):
            costs = self._leftover(single, shape) if cost is None else cost(single)
            return self.take(shape, [(int(single[np.argmin(costs)]), shape.workers)])
        if shape.workers == 1 or int(slots.sum()) < shape.workers:
            return None
        parts = self._compact(shape, slots) if shape.compact else _fewest(shape.workers, slots)
        return None if parts is None else self.take(shape, parts)

    def _leftover(self, rows: Integers, shape: Shape) -> Floats:
        left = self.whole[rows] - shape.workers * shape.gpus
        cpu = self.cpu[rows] / (1.0 + self.cpu.max(initial=0))
        cost: Floats = left + 0.5 * cpu
        return cost

    def _compact(self, shape: Shape, slots: Integers) -> list[tuple[int, int]] | None:
        size = int(self.largest_slots(shape).max(initial=0))
        if shape.workers <= size or not size:
            return None
        full, part = divmod(shape.workers, size)
        whole = np.flatnonzero(slots >= size)
        if len(whole) < full:
            return None
        parts = [(int(row), size) for row in whole[:full]]
        if part:
            fitting = np.flatnonzero(slots >= part)
            fitting = fitting[~np.isin(fitting, whole[:full])]
            if not len(fitting):
                return None
            parts.append((int(fitting[np.argmin(slots[fitting])]), part))
        return parts

    def take(self, shape: Shape, parts: list[tuple[int, int]]) -> list[Spot]:
        """Takes room for workers on nodes that have it."""
        spots: list[Spot] = []
        for row, workers in parts:
            self._count(shape, row, -workers)
            if shape.part_millis and self.devices is not None:
                spots += [(row, 1, self._share(row, shape.part_millis)) for _ in range(workers)]
            else:
                spots.append((row, workers, -1))
                self._hold(row, workers * shape.gpus)
        return spots

    def take_alike(self, shape: Shape, row: int, gangs: int) -> list[Spot]:
        """Takes room on one node for several gangs of whole GPUs, and returns what each of them has."""
        workers = gangs * shape.workers
        self._count(shape, row, -workers)
        self._hold(row, workers * shape.gpus)
        return [(row, shape.workers, -1)]

    def _hold(self, row: int, gpus: int) -> None:
        """Takes whole devices of a node, or gives them back where the number is below zero."""
        if self.devices is None or not gpus:
            return
        if self.layout is not None and self.layout.is_known[row]:
            self.devices[row] = self.layout.hold(row, gpus)
        elif gpus > 0:
            idle = np.flatnonzero(self.devices[row] >= WHOLE_GPU_MILLIS)
            self.devices[row, idle[::-1][:gpus]] = 0

    def _part(self, row: int, device: int, millis: int) -> None:
        """Takes a part of a device, or gives it back where the amount is below zero."""
        assert self.devices is not None
        before = int((self.devices[row] >= WHOLE_GPU_MILLIS).sum())
        if self.layout is not None and self.layout.is_known[row]:
            self.devices[row] = self.layout.share(row, device, millis)
        else:
            self.devices[row, device] -= millis
        self.whole[row] += int((self.devices[row] >= WHOLE_GPU_MILLIS).sum()) - before

    def _share(self, row: int, millis: int) -> int:
        assert self.devices is not None
        free = self.devices[row]
        device = int(np.argmin(np.where(free >= millis, free, PLENTY)))
        self._part(row, device, millis)
        return device

    def give_back(self, shape: Shape, spots: list[Spot]) -> None:
        """Undoes `take`."""
        for row, workers, device in spots:
            self._count(shape, row, workers)
            if device >= 0 and self.devices is not None:
                self._part(row, device, -workers * shape.part_millis)
            else:
                self._hold(row, -workers * shape.gpus)

    def holds(self, shape: Shape, spots: list[Spot]) -> bool:
        """Tells whether a gang could have exactly this room, all its workers together."""
        by_node: dict[int, int] = {}
        by_device: dict[tuple[int, int], int] = {}
        for row, workers, device in spots:
            by_node[row] = by_node.get(row, 0) + workers
            if device >= 0:
                by_device[row, device] = by_device.get((row, device), 0) + workers
        return all(self._has(shape, row, workers) for row, workers in by_node.items()) and all(
            self._has_parts(row, {at[1]: count for at, count in by_device.items() if at[0] == row}, shape)
            for row in {at[0] for at in by_device}
        )

    def _has_parts(self, row: int, workers: dict[int, int], shape: Shape) -> bool:
        if self.devices is None:
            return False
        if self.layout is not None and self.layout.is_known[row]:
            return self.layout.holds(row, {at: count * shape.part_millis for at, count in workers.items()})
        return all(self.devices[row, at] >= count * shape.part_millis for at, count in workers.items())

    def _has(self, shape: Shape, row: int, workers: int) -> bool:
        return bool(
            self.whole[row] >= workers * shape.gpus
            and self.cpu[row] >= workers * shape.cpu_millis
            and self.memory[row] >= workers * shape.memory_bytes
        )

    def take_back(self, shape: Shape, spots: list[Spot]) -> None:
        """Takes exactly this room, which `holds` found to be there."""
        for row, workers, device in spots:
            self._count(shape, row, -workers)
            if device >= 0 and self.devices is not None:
                self._part(row, device, workers * shape.part_millis)
            else:
                self._hold(row, workers * shape.gpus)

    def _count(self, shape: Shape, row: int, workers: int) -> None:
        self.whole[row] += workers * shape.gpus
        self.cpu[row] += workers * shape.cpu_millis
        self.memory[row] += workers * shape.memory_bytes


def _fewest(workers: int, slots: Integers) -> list[tuple[int, int]]:
    order = np.argsort(-slots, kind="stable")
    parts: list[tuple[int, int]] = []
    for row in order.tolist():
        here = min(workers, int(slots[row]))
        parts.append((row, here))
        workers -= here
        if not workers:
            break
    return parts
