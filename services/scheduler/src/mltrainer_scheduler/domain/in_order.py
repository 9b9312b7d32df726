"""The simplest policy: by priority and age, and whoever does not fit holds back nobody."""

from dataclasses import replace
from math import inf

import numpy as np
from mltrainer_scheduling import jobs as job_columns
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Integers, JobTable
from mltrainer_scheduling.nodes import NodeTable
from mltrainer_scheduling.plan import Cause, Gate, Plan, Start, Wait
from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.domain.gangs import cause_of, place_gang
from mltrainer_scheduler.domain.training import Share

_MOST_BLOCKERS = 10


class InOrder:
    """Serves the waiting one after the other."""

    name = "in-order"

    def plan(self, snapshot: Snapshot, gate: Gate) -> Plan:
        """Returns what starts now, and why each other training waits."""
        jobs, nodes = snapshot.jobs, _own(snapshot.nodes)
        starts: list[Start] = []
        waiting: list[tuple[int, int]] = []
        holders = [str(name) for name in jobs.job_id[jobs.running][:_MOST_BLOCKERS]]
        # Equal demands of one queue fare alike: what is free only shrinks.
        kinds = _kinds(jobs)
        refused: dict[int, Wait] = {}
        for row in _order(snapshot).tolist():
            kind = kinds[row]
            if kind in refused:
                waiting.append((row, kind))
                continue
            shares = self._shares(jobs, nodes, row, gate)
            if isinstance(shares, Cause):
                blockers = () if shares.is_lasting else tuple(holders[:_MOST_BLOCKERS])
                refused[kind] = Wait(shares, blockers)
                waiting.append((row, kind))
                continue
            gate.started(jobs.queues[jobs.queue[row]], int(jobs.workers[row] * jobs.gpu_millis[row]))
            _take(jobs, nodes, row, shares)
            starts.append(Start(str(jobs.job_id[row]), tuple(map(_to_share, shares))))
            holders.append(starts[-1].job_id)
        waits = {jobs.job_id[row]: refused[kind] for row, kind in waiting}
        return Plan(tuple(starts), (), waits, inf)

    def _shares(self, jobs: JobTable, nodes: NodeTable, row: int, gate: Gate) -> tuple[Share, ...] | Cause:
        if not gate.admits(jobs.queues[jobs.queue[row]], int(jobs.workers[row] * jobs.gpu_millis[row])):
            return Cause.QUOTA_EXHAUSTED
        return place_gang(jobs, nodes, row) or cause_of(jobs, nodes, row)


def _kinds(jobs: JobTable) -> list[int]:
    types = len(jobs.gpu_types)
    kinds: list[int] = ((jobs.queue * types + jobs.gpu_type) * 2 + jobs.allows_spot).tolist()
    return kinds


def _order(snapshot: Snapshot) -> Integers:
    jobs, pending = snapshot.jobs, snapshot.pending
    keys = (jobs.submit_s[pending], -jobs.priority[pending])
    order = np.lexsort(keys)
    is_tie = np.ones(max(len(order) - 1, 0), np.bool_)
    for key in keys:
        is_tie &= key[order][1:] == key[order][:-1]
    # Names cost more to compare than all the rest.
    if is_tie.any():
        order = np.lexsort((jobs.job_id[pending].astype(str), *keys))
    return pending[order]


def _own(nodes: NodeTable) -> NodeTable:
    return replace(
        nodes,
        free_cpu_millis=nodes.free_cpu_millis.copy(),
        free_memory_bytes=nodes.free_memory_bytes.copy(),
        free_gpu_millis=nodes.free_gpu_millis.copy(),
    )


def _take(jobs: JobTable, nodes: NodeTable, row: int, shares: tuple[Share, ...]) -> None:
    gpu = int(jobs.gpu_millis[row])
    for share in shares:
        node = int(np.searchsorted(nodes.name, share.node))
        nodes.free_cpu_millis[node] -= share.workers * jobs.cpu_millis[row]
        nodes.free_memory_bytes[node] -= share.workers * jobs.memory_bytes[row]
        if share.device >= 0:
            nodes.free_gpu_millis[node, share.device] -= share.workers * gpu
        elif gpu:
            count = share.workers * -(-gpu // WHOLE_GPU_MILLIS)
            free = np.flatnonzero(nodes.free_gpu_millis[node] == WHOLE_GPU_MILLIS)
            nodes.free_gpu_millis[node, free[:count]] = 0


def _to_share(share: Share) -> job_columns.Share:
    return job_columns.Share(share.node, share.workers, share.device)
