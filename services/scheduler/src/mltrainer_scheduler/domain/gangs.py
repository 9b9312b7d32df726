"""Finds nodes for gangs, whole or not at all."""

import numpy as np
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Flags, Integers, JobTable
from mltrainer_scheduling.nodes import NodeTable

from mltrainer_scheduler.domain.training import Share


def place_gang(jobs: JobTable, nodes: NodeTable, row: int) -> tuple[Share, ...]:
    """Places every worker on as few nodes as possible, fullest first; nothing if the gang does not fit."""
    slots = _slots(jobs, nodes, row)
    workers = int(jobs.workers[row])
    if int(slots.sum()) < workers:
        return ()
    fitting = np.flatnonzero(slots >= workers)
    order = fitting[np.argsort(slots[fitting], kind="stable")][:1] if len(fitting) else None
    shares = []
    for node in np.argsort(-slots, kind="stable") if order is None else order:
        count = min(int(slots[node]), workers)
        workers -= count
        shares += _on_node(jobs, nodes, row, int(node), count)
        if not workers:
            break
    return tuple(shares)


def _suitable(jobs: JobTable, nodes: NodeTable, row: int) -> Flags:
    """Returns which nodes take work of this kind at all."""
    wanted = jobs.gpu_types[jobs.gpu_type[row]]
    suits = nodes.schedulable & (jobs.allows_spot[row] | ~nodes.spot)
    return np.asarray(suits & (nodes.gpu_type == wanted) if wanted else suits, np.bool_)


def _slots(jobs: JobTable, nodes: NodeTable, row: int) -> Integers:
    """Returns how many workers each node has room for."""
    slots = np.where(_suitable(jobs, nodes, row), jobs.workers[row], 0)
    gpu = int(jobs.gpu_millis[row])
    if gpu >= WHOLE_GPU_MILLIS:
        free = (nodes.free_gpu_millis == WHOLE_GPU_MILLIS).sum(axis=1)
        slots = np.minimum(slots, free // -(-gpu // WHOLE_GPU_MILLIS))
    elif gpu:
        slots = np.minimum(slots, (nodes.free_gpu_millis // gpu).sum(axis=1))
    if jobs.memory_bytes[row]:
        slots = np.minimum(slots, nodes.free_memory_bytes // jobs.memory_bytes[row])
    if jobs.cpu_millis[row]:
        slots = np.minimum(slots, nodes.free_cpu_millis // jobs.cpu_millis[row])
    return slots


def _on_node(jobs: JobTable, nodes: NodeTable, row: int, node: int, count: int) -> list[Share]:
    name, spot, gpu = str(nodes.name[node]), bool(nodes.spot[node]), int(jobs.gpu_millis[row])
    if not 0 < gpu < WHOLE_GPU_MILLIS:
        return [Share(name, count, spot)]
    shares = []
    for device in np.argsort(nodes.free_gpu_millis[node], kind="stable"):
        here = min(int(nodes.free_gpu_millis[node, device]) // gpu, count)
        if here:
            shares.append(Share(name, here, spot, int(device)))
            count -= here
    return shares
