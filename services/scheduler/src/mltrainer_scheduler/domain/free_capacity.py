"""Works out what is free on nodes from what trainings hold."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import nan

import numpy as np
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Integers, JobTable
from mltrainer_scheduling.nodes import NodeTable
from mltrainer_scheduling.quotas import Amounts

from mltrainer_scheduler.domain.cluster import NodeReport

_COLUMNS = tuple(column.name for column in fields(NodeTable))


def empty_nodes(reports: Sequence[NodeReport]) -> NodeTable:
    """Returns nodes on which everything is free."""
    cpu = np.array([report.total.cpu_millis for report in reports], np.int64)
    memory = np.array([report.total.memory_bytes for report in reports], np.int64)
    gpus = np.array([report.total.gpu_millis // WHOLE_GPU_MILLIS for report in reports], np.int64)
    exists = np.arange(int(gpus.max(initial=0))) < gpus[:, None]
    return NodeTable(
        name=np.array([report.name for report in reports], np.object_),
        gpus=gpus,
        cpu_millis=cpu,
        memory_bytes=memory,
        free_gpu_millis=np.where(exists, WHOLE_GPU_MILLIS, 0),
        free_cpu_millis=cpu,
        free_memory_bytes=memory,
        gpu_type=np.array([report.gpu_type for report in reports], np.object_),
        spot=np.array([report.spot for report in reports], np.bool_),
        zone=np.array([report.zone for report in reports], np.object_),
        price_usd_per_hour=np.full(len(reports), nan),
        schedulable=np.array([report.schedulable for report in reports], np.bool_),
    )


@dataclass(frozen=True, slots=True)
class Held:
    """Shares as columns: row of the node, workers, device or -1, and what each worker holds."""

    node: Integers
    workers: Integers
    device: Integers
    cpu_millis: Integers
    memory_bytes: Integers
    gpu_millis: Integers

    @classmethod
    def of(cls, jobs: JobTable) -> "Held":
        """Returns what the running ones of a table hold."""
        each = [column[jobs.share_job] for column in (jobs.cpu_millis, jobs.memory_bytes, jobs.gpu_millis)]
        return cls(jobs.share_node, jobs.share_workers, jobs.share_device, *each)


def with_free(jobs: JobTable, nodes: NodeTable) -> NodeTable:
    """Works out what is free from what jobs hold, whatever a node itself says about it."""
    return with_held(nodes, Held.of(jobs))


def with_held(nodes: NodeTable, held: Held) -> NodeTable:
    """Works out what is free from what is held."""
    cpu, memory = (np.zeros(len(nodes), np.int64) for _ in range(2))
    np.add.at(cpu, held.node, held.workers * held.cpu_millis)
    np.add.at(memory, held.node, held.workers * held.memory_bytes)
    return replace(
        nodes,
        free_cpu_millis=np.maximum(nodes.cpu_millis - cpu, 0),
        free_memory_bytes=np.maximum(nodes.memory_bytes - memory, 0),
        free_gpu_millis=_free_devices(held, nodes),
    )


def nodes_at(nodes: NodeTable, rows: Integers) -> NodeTable:
    """Returns some nodes as a table."""
    return NodeTable(**{name: getattr(nodes, name)[rows] for name in _COLUMNS})


def _free_devices(held: Held, nodes: NodeTable) -> Integers:
    """Lays out what is held: fractions on their devices, whole devices on the first untouched ones."""
    width = nodes.free_gpu_millis.shape[1]
    if not width:
        return nodes.free_gpu_millis
    shared = np.zeros((len(nodes), width), np.int64)
    each, device = held.gpu_millis, held.device
    on_device = (device >= 0) & (device < width) & (each < WHOLE_GPU_MILLIS)
    np.add.at(shared, (held.node[on_device], device[on_device]), (held.workers * each)[on_device])
    whole = np.zeros(len(nodes), np.int64)
    devices = held.workers * -(-each // WHOLE_GPU_MILLIS)
    np.add.at(whole, held.node[~on_device], devices[~on_device])
    exists = np.arange(width) < nodes.gpus[:, None]
    untouched = exists & (shared == 0)
    taken = untouched & (np.cumsum(untouched, axis=1) <= whole[:, None])
    return np.where(exists & ~taken, np.maximum(WHOLE_GPU_MILLIS - shared, 0), 0)


def capacity_of(nodes: NodeTable) -> Amounts:
    """Returns what the nodes that take work have in total."""
    on = nodes.schedulable
    return (
        int(nodes.cpu_millis[on].sum()),
        int(nodes.memory_bytes[on].sum()),
        int(nodes.gpus[on].sum()) * WHOLE_GPU_MILLIS,
    )
