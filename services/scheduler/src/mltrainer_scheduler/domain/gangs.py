"""Finds nodes for gangs, whole or not at all."""

from dataclasses import replace

import numpy as np
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Flags, Integers, JobTable
from mltrainer_scheduling.nodes import NodeTable
from mltrainer_scheduling.plan import Cause

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


def suitable(jobs: JobTable, nodes: NodeTable, row: int) -> Flags:
    """Returns which nodes take work of this kind at all."""
    wanted = jobs.gpu_types[jobs.gpu_type[row]]
    suits = nodes.schedulable & (jobs.allows_spot[row] | ~nodes.spot)
    return np.asarray(suits & (nodes.gpu_type == wanted) if wanted else suits, np.bool_)


def cause_of(jobs: JobTable, nodes: NodeTable, row: int) -> Cause:
    """Returns the one reason why a gang fits nowhere."""
    if not nodes.schedulable.any():
        return Cause.NO_NODE
    suits = suitable(jobs, nodes, row)
    if not suits.any():
        wanted = jobs.gpu_types[jobs.gpu_type[row]]
        has_type = not wanted or bool((nodes.gpu_type[nodes.schedulable] == wanted).any())
        return Cause.ON_DEMAND_UNAVAILABLE if has_type else Cause.GPU_TYPE_UNAVAILABLE
    workers = int(jobs.workers[row])
    empty = np.minimum.reduce(list(_rooms(jobs, _emptied(nodes), row).values()))[suits]
    if int(empty.sum()) < workers:
        return Cause.LARGER_THAN_ANY_NODE if not empty.any() else Cause.GANG_LARGER_THAN_CLUSTER
    rooms = {cause: int(room[suits].sum()) for cause, room in _rooms(jobs, nodes, row).items()}
    cause = min(rooms, key=lambda cause: rooms[cause])
    return cause if rooms[cause] < workers else Cause.FRAGMENTED


def _emptied(nodes: NodeTable) -> NodeTable:
    exists = np.arange(nodes.free_gpu_millis.shape[1]) < nodes.gpus[:, None]
    return replace(
        nodes,
        free_cpu_millis=nodes.cpu_millis,
        free_memory_bytes=nodes.memory_bytes,
        free_gpu_millis=np.where(exists, WHOLE_GPU_MILLIS, 0),
    )


def _rooms(jobs: JobTable, nodes: NodeTable, row: int) -> dict[Cause, Integers]:
    """Returns how many workers each node has room for, by what bounds them."""
    rooms: dict[Cause, Integers] = {}
    gpu = int(jobs.gpu_millis[row])
    if gpu >= WHOLE_GPU_MILLIS:
        free = (nodes.free_gpu_millis == WHOLE_GPU_MILLIS).sum(axis=1)
        rooms[Cause.INSUFFICIENT_GPUS] = free // -(-gpu // WHOLE_GPU_MILLIS)
    elif gpu:
        rooms[Cause.INSUFFICIENT_GPUS] = (nodes.free_gpu_millis // gpu).sum(axis=1)
    if jobs.memory_bytes[row]:
        rooms[Cause.INSUFFICIENT_MEMORY] = nodes.free_memory_bytes // jobs.memory_bytes[row]
    if jobs.cpu_millis[row] or not rooms:
        rooms[Cause.INSUFFICIENT_CPUS] = nodes.free_cpu_millis // max(int(jobs.cpu_millis[row]), 1)
    return rooms


def _slots(jobs: JobTable, nodes: NodeTable, row: int) -> Integers:
    slots = np.minimum.reduce(list(_rooms(jobs, nodes, row).values()))
    return np.where(suitable(jobs, nodes, row), slots, 0)


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
