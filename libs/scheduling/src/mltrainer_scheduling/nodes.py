"""Nodes as a policy sees them: rows to build, columns to compute with."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Flags, Floats, Integers


@dataclass(frozen=True, slots=True)
class Node:
    """A machine; free amounts leave out what running jobs of the same snapshot hold.

    Attributes:
        name: Unique.
        gpus: GPU devices it has.
        cpu_millis: Thousandths of CPUs it has.
        memory_bytes: Memory it has.
        free_gpu_millis: Free thousandths of each device, in order of device; empty where all are free.
        free_cpu_millis: Thousandths of CPUs free; below zero where all are free.
        free_memory_bytes: Memory free; below zero where all is free.
        gpu_type: Type of its GPUs.
        spot: Whether its owner may take it back.
        zone: Where it stands.
        price_usd_per_hour: Of the whole machine; not a number where unknown.
        schedulable: Whether it takes new work. Running jobs stay.
    """

    name: str
    gpus: int
    cpu_millis: int = 0
    memory_bytes: int = 0
    free_gpu_millis: tuple[int, ...] = ()
    free_cpu_millis: int = -1
    free_memory_bytes: int = -1
    gpu_type: str = ""
    spot: bool = False
    zone: str = ""
    price_usd_per_hour: float = nan
    schedulable: bool = True


@dataclass(frozen=True, slots=True)
class NodeTable:
    """The same as columns; `free_gpu_millis` has a row per node and a column per device."""

    name: NDArray[np.object_]
    gpus: Integers
    cpu_millis: Integers
    memory_bytes: Integers
    free_gpu_millis: Integers
    free_cpu_millis: Integers
    free_memory_bytes: Integers
    gpu_type: NDArray[np.object_]
    spot: Flags
    zone: NDArray[np.object_]
    price_usd_per_hour: Floats
    schedulable: Flags

    def __len__(self) -> int:
        return len(self.name)

    def rows(self) -> dict[str, int]:
        """Returns the row of each node by name."""
        return {str(name): row for row, name in enumerate(self.name)}


def free_devices(gpus: int, free_gpu_millis: int) -> tuple[int, ...]:
    """Lays a free total out over devices, whole ones first, for those who account by totals only."""
    whole, part = divmod(free_gpu_millis, WHOLE_GPU_MILLIS)
    return tuple(
        WHOLE_GPU_MILLIS if device < whole else part if device == whole else 0 for device in range(gpus)
    )


def node_table(nodes: Sequence[Node]) -> NodeTable:
    """Turns rows into columns.

    Raises:
        ValueError: Two nodes have one name.
    """
    if len({node.name for node in nodes}) < len(nodes):
        raise ValueError("two nodes have one name")
    free = np.zeros((len(nodes), max((node.gpus for node in nodes), default=0)), np.int64)
    for row, node in enumerate(nodes):
        free[row, : node.gpus] = node.free_gpu_millis or WHOLE_GPU_MILLIS
    cpu = np.array([node.cpu_millis for node in nodes], np.int64)
    memory = np.array([node.memory_bytes for node in nodes], np.int64)
    free_cpu = np.array([node.free_cpu_millis for node in nodes], np.int64)
    free_memory = np.array([node.free_memory_bytes for node in nodes], np.int64)
    return NodeTable(
        name=np.array([node.name for node in nodes], np.object_),
        gpus=np.array([node.gpus for node in nodes], np.int64),
        cpu_millis=cpu,
        memory_bytes=memory,
        free_gpu_millis=free,
        free_cpu_millis=np.where(free_cpu < 0, cpu, free_cpu),
        free_memory_bytes=np.where(free_memory < 0, memory, free_memory),
        gpu_type=np.array([node.gpu_type for node in nodes], np.object_),
        spot=np.array([node.spot for node in nodes], np.bool_),
        zone=np.array([node.zone for node in nodes], np.object_),
        price_usd_per_hour=np.array([node.price_usd_per_hour for node in nodes], np.float64),
        schedulable=np.array([node.schedulable for node in nodes], np.bool_),
    )
