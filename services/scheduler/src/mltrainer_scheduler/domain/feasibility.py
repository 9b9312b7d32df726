"""Holds plans against what is really free: whatever a policy says, nothing is given away twice."""

from collections.abc import Sequence

import numpy as np
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Integers
from mltrainer_scheduling.plan import Start
from mltrainer_scheduling.snapshot import Snapshot


def feasible(snapshot: Snapshot, starts: Sequence[Start]) -> tuple[Start, ...]:
    """Returns the starts that fit into what is free when each follows those before it; usually all."""
    wanted = _shares(snapshot, starts)
    if _fits(snapshot, wanted):
        return tuple(starts)
    kept: list[int] = []
    for number in range(len(starts)):
        if _fits(snapshot, wanted[np.isin(wanted[:, 0], [*kept, number])]):
            kept.append(number)
    return tuple(starts[number] for number in kept)


def _shares(snapshot: Snapshot, starts: Sequence[Start]) -> Integers:
    """Returns for each share the number of its start, the rows of job and node, workers and device."""
    nodes = snapshot.nodes.rows()
    jobs = (
        np.searchsorted(snapshot.jobs.job_id, [start.job_id for start in starts]).tolist() if starts else []
    )
    shares = [
        (number, job, nodes[share.node], share.workers, share.device)
        for number, (start, job) in enumerate(zip(starts, jobs, strict=True))
        for share in start.shares
    ]
    return np.array(shares, np.int64).reshape(-1, 5)


def _fits(snapshot: Snapshot, wanted: Integers) -> bool:
    jobs, nodes = snapshot.jobs, snapshot.nodes
    _, job, node, workers, device = wanted.T
    cpu, memory, whole = (np.zeros(len(nodes), np.int64) for _ in range(3))
    np.add.at(cpu, node, workers * jobs.cpu_millis[job])
    np.add.at(memory, node, workers * jobs.memory_bytes[job])
    each = jobs.gpu_millis[job]
    is_shared = (each > 0) & (each < WHOLE_GPU_MILLIS)
    shared = np.zeros_like(nodes.free_gpu_millis)
    if not np.all((device[is_shared] >= 0) & (device[is_shared] < shared.shape[1])):
        return False
    np.add.at(shared, (node[is_shared], device[is_shared]), (workers * each)[is_shared])
    np.add.at(whole, node[~is_shared], (workers * -(-each // WHOLE_GPU_MILLIS))[~is_shared])
    untouched = (nodes.free_gpu_millis == WHOLE_GPU_MILLIS) & (shared == 0)
    return bool(
        np.all(nodes.schedulable[node])
        and np.all(cpu <= nodes.free_cpu_millis)
        and np.all(memory <= nodes.free_memory_bytes)
        and np.all(shared <= nodes.free_gpu_millis)
        and np.all(whole <= untouched.sum(axis=1))
    )
