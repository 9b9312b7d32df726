"""Leaves out of a snapshot what one event does not concern, to decide on it in a fraction of a full plan.

A plan for the narrowed snapshot is sound for the whole cluster: it starts only jobs that are in it, on nodes
that are in it with all that runs there. What it misses, the next full plan finds. Jobs keep the urgency that
the last full plan found, for what is left out may bear on it.
"""

from dataclasses import fields, replace

import numpy as np

from mltrainer_scheduling.jobs import Flags, Floats, Integers, JobTable, taken
from mltrainer_scheduling.nodes import NodeTable
from mltrainer_scheduling.snapshot import Snapshot

_NODE_ROWS = tuple(field.name for field in fields(NodeTable))


def narrowed(
    seen: Snapshot,
    rank: Floats,
    urgency_s: Floats,
    changed_nodes: Integers,
    *,
    waiting: int = 128,
    spare_nodes: int = 16,
) -> Snapshot:
    """Keeps the changed nodes, those where the least urgent jobs run, and the most urgent of those who wait.

    Args:
        seen: The whole cluster after the event.
        rank: Place of each job in the order of the last full plan; not a number for jobs that are new since.
        urgency_s: Its urgency there; not a number for jobs that are new since.
        changed_nodes: Rows of nodes where something ended, or that are new.
        waiting: How many waiting jobs to keep.
        spare_nodes: How many nodes to keep besides the changed ones.
    """
    jobs = seen.jobs
    placed = np.where(np.isnan(rank), -1.0, rank)
    pending = np.flatnonzero(~jobs.running)
    if len(pending) > waiting:
        pending = pending[np.argpartition(placed[pending], waiting)[:waiting]]
    nodes = np.zeros(len(seen.nodes), np.bool_)
    nodes[_least_urgent(seen, placed, spare_nodes)] = True
    nodes[changed_nodes] = True
    kept = _kept(jobs, pending, nodes)
    rows = np.flatnonzero(kept)
    shares = kept[jobs.share_job] & jobs.running[jobs.share_job]
    new_row, new_node = np.cumsum(kept) - 1, np.cumsum(nodes) - 1
    table = replace(
        taken(jobs, rows),
        known_urgency_s=urgency_s[rows],
        share_job=new_row[jobs.share_job[shares]],
        share_node=new_node[jobs.share_node[shares]],
        share_workers=jobs.share_workers[shares],
        share_device=jobs.share_device[shares],
    )
    where = np.flatnonzero(nodes)
    return Snapshot(
        seen.now_s,
        table,
        NodeTable(**{name: getattr(seen.nodes, name)[where] for name in _NODE_ROWS}),
        seen.history,
    )


def _least_urgent(seen: Snapshot, placed: Floats, count: int) -> Integers:
    """Returns the nodes of the least urgent running jobs."""
    shares = placed[seen.jobs.share_job]
    if len(shares) > count:
        return seen.jobs.share_node[np.argpartition(-shares, count)[:count]]
    return seen.jobs.share_node


def _kept(jobs: JobTable, pending: Integers, nodes: Flags) -> Flags:
    """Tells which jobs to keep: those pending, and those that run on kept nodes with all their workers."""
    kept = np.zeros(len(jobs), np.bool_)
    kept[jobs.share_job[nodes[jobs.share_node]]] = True
    kept[jobs.share_job[~nodes[jobs.share_node]]] = False
    kept[pending] = True
    return kept
