"""What free GPUs are worth to the work that is likely to come: expected fragmentation, stranding and gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Flags, Floats, Integers
from mltrainer_scheduling.nodes import NodeTable


@dataclass(frozen=True, slots=True)
class TaskShape:
    """What a task asks of one node.

    No `gpu_types` means any type, `gpu_millis` below 1,000 a part of one device.

    Raises:
        ValueError: Several GPUs of which each is a part, or a negative amount.
    """

    gpus: int = 1
    gpu_millis: int = WHOLE_GPU_MILLIS
    cpu_millis: int = 0
    memory_bytes: int = 0
    gpu_types: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if min(self.gpus, self.cpu_millis, self.memory_bytes) < 0:
            raise ValueError(f"a task asks for a negative amount: {self}")
        if self.gpus and not 0 < self.gpu_millis <= WHOLE_GPU_MILLIS:
            raise ValueError(
                f"a device has {WHOLE_GPU_MILLIS} thousandths, a task asks for {self.gpu_millis}"
            )
        if self.gpus > 1 and self.gpu_millis < WHOLE_GPU_MILLIS:
            raise ValueError("a task shares one device or takes whole ones")


@dataclass(frozen=True, slots=True)
class FreeNodes:
    """What is free on each node, in columns; `gpu_millis` has a row per node and a column per device."""

    gpu_millis: Integers
    cpu_millis: Integers
    memory_bytes: Integers
    gpu_type: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.cpu_millis)


def free_nodes(table: NodeTable) -> FreeNodes:
    """Returns what the nodes of a snapshot have free; those that take no new work have nothing."""
    takes = table.schedulable
    return FreeNodes(
        np.where(takes[:, None], table.free_gpu_millis, 0),
        np.where(takes, table.free_cpu_millis, -1),
        np.where(takes, table.free_memory_bytes, -1),
        table.gpu_type,
    )


@dataclass(frozen=True, slots=True)
class ValueSettings:
    """How much each kind of waste counts; the defaults are the one configuration that `default` runs with.

    Attributes:
        stranding: Weight of GPUs left without the CPU or memory that the workload uses beside them.
        softness: How gradually stranding sets in, in mean tasks.
        gap: Weight of what is left on shared devices.
        gap_arrivals: A gap counts by the chance that none of so many arrivals fits into it.
        size_exponent: Power of a task's GPUs in its weight; 0 counts tasks, 1 counts GPUs.
        scarcity_exponent: Power of how few of the cluster's GPUs could serve the task at all.
        popularity: Share of tasks, most frequent shapes first, that is looked at.
    """

    stranding: float = 0.5
    softness: float = 0.3
    gap: float = 3.0
    gap_arrivals: int = 60
    size_exponent: float = 0.25
    scarcity_exponent: float = 0.75
    popularity: float = 1.0


FRAGMENTATION_ONLY = ValueSettings(
    stranding=0.0, gap=0.0, size_exponent=0.0, scarcity_exponent=0.0, popularity=0.95
)


@dataclass(frozen=True, slots=True)
class WasteModel:
    """The expected waste of a node's free GPUs, as tables that many nodes are looked up in at once.

    A device with r thousandths free adds `device[r]` to its node: r, its gap, then for each size of task what
    that size could use of it, then whether that size fits. Shapes that ask for the same GPUs form one kind;
    `fitting[j]` holds per kind the weight of those whose CPU request is among the j smallest.
    """

    settings: ValueSettings
    device: Floats
    sizes: Integers
    kind_size: Integers
    kind_gpus: Integers
    kind_open_to: Flags
    cpu_steps: Integers
    fitting: Floats
    cpu_per_gpu: float
    memory_per_gpu: float
    softness_gpus: float
    gpu_types: tuple[str, ...]

    def device_sums(self, gpu_millis: Integers) -> Floats:
        """Returns the sums of the devices of each node; the rows that `waste` takes."""
        return np.asarray(self.device[gpu_millis].sum(axis=-2))

    def type_codes(self, gpu_type: NDArray[np.object_]) -> Integers:
        """Returns the code of each node's GPU type; types that nobody asked for share the last."""
        codes = np.full(len(gpu_type), len(self.gpu_types), np.int64)
        for code, name in enumerate(self.gpu_types):
            codes[gpu_type == name] = code
        return codes

    def waste(self, sums: Floats, cpu_millis: Integers, memory_bytes: Integers, gpu_type: Integers) -> Floats:
        """Returns the expected waste of each node state, in thousandths of a GPU."""
        free, sizes = sums[:, 0], len(self.sizes)
        usable = sums[:, 2 + self.kind_size]
        enough = sums[:, 2 + sizes + self.kind_size] >= self.kind_gpus
        weight = self.fitting[np.searchsorted(self.cpu_steps, cpu_millis, "right")]
        open_to = self.kind_open_to[gpu_type]
        fragmented = free - (weight * usable * (enough & open_to)).sum(axis=1)
        waste = fragmented + self.settings.gap * sums[:, 1]
        if self.settings.stranding:
            waste += self.settings.stranding * self._stranded(free, cpu_millis, memory_bytes)
        return np.asarray(waste)

    def _stranded(self, free: Floats, cpu_millis: Integers, memory_bytes: Integers) -> Floats:
        softness = self.softness_gpus
        total = np.zeros(len(free))
        for have, per_gpu in ((cpu_millis, self.cpu_per_gpu), (memory_bytes, self.memory_per_gpu)):
            if per_gpu > 0:
                short = free / WHOLE_GPU_MILLIS - have / per_gpu
                total = np.logaddexp(total, short / softness)
        return np.asarray(WHOLE_GPU_MILLIS * softness * total)


def learn_waste(
    seen: Mapping[TaskShape, int], capacity: FreeNodes, settings: ValueSettings | None = None
) -> WasteModel:
    """Builds the model from how often each shape was seen and from the cluster's nodes when empty.

    Raises:
        ValueError: Nothing was seen.
    """
    if not seen:
        raise ValueError("a workload has at least one task")
    settings = settings or ValueSettings()
    chosen = _popular(seen, settings.popularity)
    gpu_types = tuple(sorted({name for shape in chosen for name in shape.gpu_types}))
    weights = _weights(chosen, capacity, settings)
    kinds = sorted({(s.gpus, s.gpu_millis, tuple(sorted(s.gpu_types))) for s in chosen if s.gpus})
    sizes = sorted({size for _, size, _ in kinds} | {WHOLE_GPU_MILLIS})
    steps = sorted({shape.cpu_millis for shape in chosen})
    with_gpu = [(shape, count) for shape, count in seen.items() if shape.gpus]
    gpus = sum(count * s.gpus * s.gpu_millis for s, count in with_gpu) / WHOLE_GPU_MILLIS
    tasks = sum(count for _, count in with_gpu)
    return WasteModel(
        settings=settings,
        device=_device_table(sizes, seen, settings),
        sizes=np.array(sizes, np.int64),
        kind_size=np.array([sizes.index(size) for _, size, _ in kinds], np.int64),
        kind_gpus=np.array([number for number, _, _ in kinds], np.int64),
        kind_open_to=np.array(
            [[not allowed or name in allowed for _, _, allowed in kinds] for name in (*gpu_types, None)],
            np.bool_,
        ).reshape(len(gpu_types) + 1, len(kinds)),
        cpu_steps=np.array(steps, np.int64),
        fitting=_fitting(chosen, weights, kinds, steps),
        cpu_per_gpu=sum(count * s.cpu_millis for s, count in with_gpu) / gpus if gpus else 0.0,
        memory_per_gpu=sum(count * s.memory_bytes for s, count in with_gpu) / gpus if gpus else 0.0,
        softness_gpus=settings.softness * max(1.0, gpus / tasks if tasks else 1.0),
        gpu_types=gpu_types,
    )


def _popular(seen: Mapping[TaskShape, int], share: float) -> dict[TaskShape, int]:
    ordered = sorted(seen.items(), key=lambda item: -item[1])
    wanted, total, chosen = share * sum(seen.values()), 0, {}
    for shape, count in ordered:
        if total >= wanted:
            break
        chosen[shape] = count
        total += count
    return chosen


def _weights(
    seen: Mapping[TaskShape, int], capacity: FreeNodes, settings: ValueSettings
) -> dict[TaskShape, float]:
    all_gpus = max(1, int((capacity.gpu_millis > 0).sum()))
    weights = {}
    for shape, count in seen.items():
        size = (shape.gpus * shape.gpu_millis / WHOLE_GPU_MILLIS) ** settings.size_exponent
        reach = (
            int((capacity.gpu_millis[fits(shape, capacity)] > 0).sum()) if settings.scarcity_exponent else 1
        )
        scarcity = (all_gpus / reach) ** settings.scarcity_exponent if reach else 0.0
        weights[shape] = count * size * (scarcity if settings.scarcity_exponent else 1.0)
    total = sum(weights.values())
    return {shape: weight / total if total else 0.0 for shape, weight in weights.items()}


def fits(shape: TaskShape, nodes: FreeNodes) -> Flags:
    """Tells which nodes have room for a task."""
    room = (nodes.cpu_millis >= shape.cpu_millis) & (nodes.memory_bytes >= shape.memory_bytes)
    if shape.gpus:
        room &= (nodes.gpu_millis >= shape.gpu_millis).sum(axis=1) >= shape.gpus
    if shape.gpu_types:
        room &= np.logical_or.reduce([nodes.gpu_type == name for name in sorted(shape.gpu_types)])
    return room


def _device_table(sizes: Sequence[int], seen: Mapping[TaskShape, int], settings: ValueSettings) -> Floats:
    free = np.arange(WHOLE_GPU_MILLIS + 1)
    fit = (free[:, None] >= np.array(sizes)) & (free[:, None] > 0)
    singles = np.zeros(WHOLE_GPU_MILLIS + 1)
    for shape, count in seen.items():
        if shape.gpus == 1:
            singles[shape.gpu_millis] += count
    nobody = np.clip(1.0 - np.cumsum(singles) / sum(seen.values()), 0.0, 1.0) ** settings.gap_arrivals
    gap = np.where(free < WHOLE_GPU_MILLIS, free * nobody, 0.0)
    return np.column_stack([free, gap, fit * free[:, None], fit]).astype(np.float64)


def _fitting(
    seen: Mapping[TaskShape, int],
    weights: Mapping[TaskShape, float],
    kinds: Sequence[tuple[int, int, tuple[str, ...]]],
    steps: Sequence[int],
) -> Floats:
    table = np.zeros((len(steps) + 1, len(kinds)))
    for shape in seen:
        if shape.gpus:
            kind = kinds.index((shape.gpus, shape.gpu_millis, tuple(sorted(shape.gpu_types))))
            table[steps.index(shape.cpu_millis) + 1, kind] += weights[shape]
    return np.cumsum(table, axis=0)
