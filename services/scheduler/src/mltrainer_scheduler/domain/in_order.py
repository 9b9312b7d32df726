"""The simplest policy: by priority and age, and whoever does not fit holds back nobody."""

from dataclasses import replace
from math import inf

import numpy as np
from mltrainer_scheduling import jobs as job_columns
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, JobTable
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
        waits: dict[str, Wait] = {}
        refused: dict[tuple[int, int, bool], Wait] = {}
        holders = [str(name) for name in jobs.job_id[jobs.running][:_MOST_BLOCKERS]]
        for row in _order(snapshot):
            name, account = str(jobs.job_id[row]), int(jobs.queue[row])
            # Equal demands of one queue fare alike: what is free only shrinks.
            kind = (account, int(jobs.gpu_type[row]), bool(jobs.allows_spot[row]))
            wait = refused.get(kind)
            if wait is None:
                shares = self._shares(jobs, nodes, row, gate)
                if isinstance(shares, tuple):
                    gate.started(jobs.queues[account], int(jobs.gang_gpu_millis[row]))
                    _take(jobs, nodes, row, shares)
                    starts.append(Start(name, tuple(_to_share(share) for share in shares)))
                    holders.append(name)
                    continue
                wait = refused[kind] = Wait(
                    shares, () if shares.is_lasting else tuple(holders[:_MOST_BLOCKERS])
                )
            waits[name] = wait
        return Plan(tuple(starts), (), waits, inf)

    def _shares(self, jobs: JobTable, nodes: NodeTable, row: int, gate: Gate) -> tuple[Share, ...] | Cause:
        if not gate.admits(jobs.queues[jobs.queue[row]], int(jobs.gang_gpu_millis[row])):
            return Cause.QUOTA_EXHAUSTED
        return place_gang(jobs, nodes, row) or cause_of(jobs, nodes, row)


def _order(snapshot: Snapshot) -> list[int]:
    jobs, pending = snapshot.jobs, snapshot.pending
    names = jobs.job_id[pending].astype(str)
    order = np.lexsort((names, jobs.submit_s[pending], -jobs.priority[pending]))
    return [int(row) for row in pending[order]]


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
