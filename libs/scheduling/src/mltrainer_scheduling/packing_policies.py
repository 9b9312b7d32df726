"""Packing policies by name: ours, and the peers it is measured against."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mltrainer_scheduling.fragmentation import (
    FRAGMENTATION_ONLY,
    FreeNodes,
    TaskShape,
    ValueSettings,
    learn_waste,
)
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Floats, Integers
from mltrainer_scheduling.packing import NO_DEVICE, Scorer, WasteScorer


class PackingPolicy(StrEnum):
    """The policies that can be simulated."""

    DEFAULT = "default"
    RANDOM = "random"
    FIRST_FIT = "first-fit"
    BEST_FIT = "best-fit"
    DOT_PRODUCT = "dot-product"
    GPU_PACKING = "gpu-packing"
    FGD = "fgd"
    FGD_PUBLISHED = "fgd-published"


# The largest node of the openb trace; the published scores divide by it.
_LARGEST_CPU_MILLIS = 128_000
_LARGEST_GPUS = 8


def scorer_for(policy: PackingPolicy, seen: Mapping[TaskShape, int], capacity: FreeNodes) -> Scorer:
    """Returns the scorer of a policy; `seen` is what it may know of the workload."""
    if policy in _UNLEARNED:
        return _UNLEARNED[policy]
    settings = ValueSettings() if policy is PackingPolicy.DEFAULT else FRAGMENTATION_ONLY
    return WasteScorer(learn_waste(seen, capacity, settings), published=policy is PackingPolicy.FGD_PUBLISHED)


def learns(policy: PackingPolicy) -> bool:
    """Tells whether prices depend on the workload seen."""
    return policy not in _UNLEARNED


@dataclass(frozen=True, slots=True)
class FirstFit:
    """Takes the first node with room, in the order of the file, and its first device."""

    def price(self, shape: TaskShape, nodes: FreeNodes, rows: Integers) -> tuple[Floats, Integers]:
        """Returns the same price everywhere: of equal nodes the first is taken."""
        return np.zeros(len(rows)), _device(shape, nodes.gpu_millis[rows], tightest=False)


@dataclass(frozen=True, slots=True)
class BestFit:
    """Takes the node with least CPU and GPU left, in integers from 0 to 100 like the FGD artefact."""

    def price(self, shape: TaskShape, nodes: FreeNodes, rows: Integers) -> tuple[Floats, Integers]:
        """Returns the rounded sum of what is left."""
        cpu = (nodes.cpu_millis[rows] - shape.cpu_millis) / _LARGEST_CPU_MILLIS
        gpu = (nodes.gpu_millis[rows].sum(axis=1) - shape.gpus * shape.gpu_millis) / WHOLE_GPU_MILLIS
        score = np.floor(100.0 * (1.0 - (cpu + gpu / _LARGEST_GPUS) / 2.0))
        return -score, _device(shape, nodes.gpu_millis[rows], tightest=True)


@dataclass(frozen=True, slots=True)
class DotProduct:
    """Takes the node whose free resources align least with the request (Tetris, as the FGD paper runs it)."""

    def price(self, shape: TaskShape, nodes: FreeNodes, rows: Integers) -> tuple[Floats, Integers]:
        """Returns the rounded product of free and requested, both as shares of the largest node."""
        cpu = nodes.cpu_millis[rows] * float(shape.cpu_millis) / _LARGEST_CPU_MILLIS**2
        gpu = nodes.gpu_millis[rows].sum(axis=1) * float(shape.gpus * shape.gpu_millis)
        aligned = (cpu + gpu / (WHOLE_GPU_MILLIS * _LARGEST_GPUS) ** 2) / 2.0
        return -np.floor(100.0 * (1.0 - aligned)), _device(shape, nodes.gpu_millis[rows], tightest=True)


@dataclass(frozen=True, slots=True)
class GpuPacking:
    """Prefers devices in use, then nodes in use, then the smallest idle node."""

    def price(self, shape: TaskShape, nodes: FreeNodes, rows: Integers) -> tuple[Floats, Integers]:
        """Returns the tier of each node and, within it, how much is opened."""
        devices = nodes.gpu_millis[rows]
        if shape.gpus == 0:
            return np.zeros(len(rows)), np.full(len(rows), NO_DEVICE, np.int64)
        idle = (devices == WHOLE_GPU_MILLIS).sum(axis=1)
        unused = idle == (devices > 0).sum(axis=1)
        device = _device(shape, devices, tightest=True)
        left = np.where(device >= 0, devices[np.arange(len(rows)), np.maximum(device, 0)], WHOLE_GPU_MILLIS)
        shares = left < WHOLE_GPU_MILLIS
        tier = np.where(unused, 200.0 + idle, np.where(shares, left / WHOLE_GPU_MILLIS, 100.0 + shape.gpus))
        return tier, device


_UNLEARNED: Mapping[PackingPolicy, Scorer] = {
    PackingPolicy.RANDOM: FirstFit(),
    PackingPolicy.FIRST_FIT: FirstFit(),
    PackingPolicy.BEST_FIT: BestFit(),
    PackingPolicy.DOT_PRODUCT: DotProduct(),
    PackingPolicy.GPU_PACKING: GpuPacking(),
}


def _device(shape: TaskShape, gpu_millis: Integers, *, tightest: bool) -> Integers:
    if shape.gpus != 1 or shape.gpu_millis == WHOLE_GPU_MILLIS:
        return np.full(len(gpu_millis), NO_DEVICE, np.int64)
    room = gpu_millis >= shape.gpu_millis
    if not tightest:
        return np.asarray(np.argmax(room, axis=1), np.int64)
    return np.asarray(np.argmin(np.where(room, gpu_millis, WHOLE_GPU_MILLIS + 1), axis=1), np.int64)
