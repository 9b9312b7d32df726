"""What a plan is made from: the whole cluster, or as much of it as one event concerns."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import numpy as np
from mltrainer_scheduling.fair_share import PastUse, faded, held_seconds, with_amount_seconds
from mltrainer_scheduling.jobs import Flags, Integers, JobTable
from mltrainer_scheduling.nodes import NodeTable
from mltrainer_scheduling.quotas import Amounts, Queue
from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.domain.cluster_state import ClusterState
from mltrainer_scheduler.domain.columns import Account
from mltrainer_scheduler.domain.free_capacity import Held, capacity_of, nodes_at, with_held
from mltrainer_scheduler.domain.saved_work import saved_s
from mltrainer_scheduler.domain.training import SchedulingPolicy, Terms

# Of an event: the most urgent that wait, and the nodes of the least urgent that execute.
_WAITING = 128
# Of a full plan: of more, each queue's first ones.
_WINDOW = 20_000
_SPARE_NODES = 16


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a plan depends on, as values that nothing changes.

    Attributes:
        snapshot: What the policy sees.
        is_whole: Whether that is the whole cluster.
        capacity: Of the whole cluster, like everything below.
        accounts: What stands for a queue in the snapshot.
        running: How many gangs of each account execute, by code.
        asked: How many gangs of each account execute or may be placed.
        past: What queues have held up to now, living allocations included.
        left_out: How many that may be placed are not in the snapshot, for there are too many.
    """

    snapshot: Snapshot
    is_whole: bool
    capacity: Amounts
    queues: tuple[Queue, ...]
    accounts: Mapping[str, Account]
    running: Integers
    asked: Integers
    past: Mapping[str, PastUse]
    left_out: int = 0


def whole(state: ClusterState, now_s: float, silent: Collection[str], bounds: SchedulingPolicy) -> Situation:
    """Looks at everything; trainings that may not be placed yet are left out.

    Of very many that wait it sees those that come first in their queues, so that a plan takes a bounded time
    and nobody's crowd hides the others. The rest moves up as they leave.
    """
    order = state.order()
    startable = state.startable(now_s)
    seen = _window(state, startable)
    chosen = order[(seen | state.column("is_placed"))[order]]
    nodes = state.empty_nodes(silent)
    shares = np.flatnonzero(state.shares.workers.values[: state.shares.count] > 0)
    shares = shares[state.node_ranks()[state.shares.node.values[shares]] >= 0]
    jobs = _jobs(state, chosen, shares, now_s, bounds.terms)
    there = with_held(nodes, Held.of(jobs))
    snapshot = Snapshot(now_s, jobs, there, state.history)
    left_out = int(startable.sum()) - int(seen.sum())
    return replace(_situation(state, snapshot, bounds, nodes, is_whole=True), left_out=left_out)


def _window(state: ClusterState, startable: Flags) -> Flags:
    rows = np.flatnonzero(startable)
    if len(rows) <= _WINDOW:
        return startable
    accounts = list(state.accounts.by_text.values())
    names = {account.queue: number for number, account in enumerate(accounts)}
    queue = np.array([names[account.queue] for account in accounts])[state.column("queue")[rows]]
    order = np.lexsort((state.column("create_s")[rows], -state.column("priority")[rows], queue))
    begins = np.flatnonzero(np.diff(queue[order], prepend=-1))
    place = np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows)))
    first = np.argsort(place, kind="stable")[:_WINDOW]
    seen = np.zeros_like(startable)
    seen[rows[order[first]]] = True
    return seen


def around_events(
    state: ClusterState, now_s: float, silent: Collection[str], bounds: SchedulingPolicy
) -> Situation:
    """Looks at the nodes where something ended, those of the least urgent, and the most urgent that wait.

    What else is there holds what it holds and stays out of sight: a plan starts only what is in sight, on
    nodes in sight, and stops only what executes there with all its workers. Ranks and urgencies are those of
    the last full plan (ADR 0051).
    """
    nodes = state.empty_nodes(silent)
    ranks, rows = state.node_ranks(), state.shares
    live = np.flatnonzero(rows.workers.values[: rows.count] > 0)
    live = live[ranks[rows.node.values[live]] >= 0]
    in_sight = np.zeros(len(nodes), np.bool_)
    in_sight[_least_urgent_nodes(state, live, ranks)] = True
    freed = ranks[sorted(state.freed_nodes)]
    in_sight[freed[freed >= 0]] = True
    is_here = in_sight[ranks[rows.node.values[live]]]
    kept = np.zeros(state.count, np.bool_)
    kept[rows.job.values[live[is_here]]] = True
    kept[rows.job.values[live[~is_here]]] = False
    mine = live[is_here & kept[rows.job.values[live]]]
    kept[_most_urgent_waiting(state, now_s)] = True
    names = state.column("name")
    chosen = np.array(sorted(np.flatnonzero(kept).tolist(), key=lambda row: names[row]), np.int64)
    jobs = _jobs(state, chosen, mine, now_s, bounds.terms)
    where = np.flatnonzero(in_sight)
    new_rows = np.cumsum(in_sight) - 1
    there = with_held(nodes_at(nodes, where), _held(state, live[is_here], new_rows[ranks]))
    urgency_s = state.column("urgency_s")[chosen]
    jobs = replace(jobs, known_urgency_s=urgency_s, share_node=new_rows[jobs.share_node])
    return _situation(state, Snapshot(now_s, jobs, there, state.history), bounds, nodes, is_whole=False)


def _least_urgent_nodes(state: ClusterState, live: Integers, ranks: Integers) -> Integers:
    nodes = ranks[state.shares.node.values[live]]
    if len(live) <= _SPARE_NODES:
        return nodes
    rank = state.column("rank")[state.shares.job.values[live]]
    return nodes[np.argpartition(-rank, _SPARE_NODES)[:_SPARE_NODES]]


def _most_urgent_waiting(state: ClusterState, now_s: float) -> Integers:
    waiting = np.flatnonzero(state.startable(now_s))
    if len(waiting) <= _WAITING:
        return waiting
    return waiting[np.argpartition(state.column("rank")[waiting], _WAITING)[:_WAITING]]


def _held(state: ClusterState, shares: Integers, rows_of_nodes: Integers) -> Held:
    rows = state.shares
    jobs = rows.job.values[shares]
    return Held(
        rows_of_nodes[rows.node.values[shares]],
        rows.workers.values[shares],
        rows.device.values[shares],
        state.column("cpu_millis")[jobs],
        state.column("memory_bytes")[jobs],
        state.column("gpu_millis")[jobs],
    )


def _jobs(state: ClusterState, chosen: Integers, shares: Integers, now_s: float, terms: Terms) -> JobTable:
    def column(name: str) -> Any:
        return state.column(name)[chosen]

    placed, interval_s = column("is_placed"), column("checkpoint_interval_s")
    run_s = np.where(placed, np.maximum(now_s - column("begin_s"), 0.0), 0.0)
    kept_s = np.where(placed, saved_s(column("begin_s"), column("checkpoint_s"), now_s), 0.0)
    return JobTable(
        job_id=column("name"),
        submit_s=column("create_s"),
        workers=column("workers"),
        gpu_millis=column("gpu_millis"),
        cpu_millis=column("cpu_millis"),
        memory_bytes=column("memory_bytes"),
        gpu_type=column("gpu_type"),
        allows_spot=column("allows_spot"),
        compact=np.zeros(len(chosen), np.bool_),
        queue=column("queue"),
        priority=column("priority"),
        group=column("group"),
        # What keeps no checkpoints would lose everything: only a debt of its queue can cost it its place.
        preemptible=(interval_s > 0.0) & (column("preemption_count") < terms.max_preemptions),
        minimum_run_s=np.full(len(chosen), terms.minimum_run_s),
        attained_s=column("attained_s") + kept_s,
        unsaved_s=run_s - kept_s,
        restore_s=np.full(len(chosen), terms.restore_s),
        preemptions=column("preemption_count"),
        started_s=np.where(placed, column("begin_s"), nan),
        waiting_since_s=column("wait_begin_s"),
        remaining_s=np.full(len(chosen), nan),
        running=placed,
        **state.texts(),
        **_share_columns(state, chosen, shares),
    )


def _share_columns(state: ClusterState, chosen: Integers, shares: Integers) -> dict[str, Any]:
    rows, position = state.shares, np.full(state.count, -1, np.int64)
    position[chosen] = np.arange(len(chosen))
    jobs, nodes = position[rows.job.values[shares]], state.node_ranks()[rows.node.values[shares]]
    devices = rows.device.values[shares]
    # In an order that does not tell in which order rows came: policies name blockers by it.
    order = np.lexsort((devices, nodes, jobs))
    return {
        "share_job": jobs[order],
        "share_node": nodes[order],
        "share_workers": rows.workers.values[shares][order],
        "share_device": devices[order],
    }


def _situation(
    state: ClusterState, snapshot: Snapshot, bounds: SchedulingPolicy, nodes: NodeTable, *, is_whole: bool
) -> Situation:
    placed, queue = state.column("is_placed"), state.column("queue")
    counted = placed | state.startable(snapshot.now_s)
    codes = len(state.accounts.by_text)
    return Situation(
        snapshot=snapshot,
        is_whole=is_whole,
        capacity=capacity_of(nodes),
        queues=state.queues,
        accounts=state.accounts.by_text,
        running=np.bincount(queue[placed], minlength=codes),
        asked=np.bincount(queue[counted], minlength=codes),
        past=past_of(state, snapshot.now_s, bounds.half_life_s),
    )


def past_of(state: ClusterState, now_s: float, half_life_s: float) -> dict[str, PastUse]:
    """Returns what queues have held up to now, living allocations included."""
    past = {queue: faded(use, now_s, half_life_s) for queue, use in state.past.items()}
    placed = state.column("is_placed")
    seconds = np.bincount(
        state.column("queue")[placed], held_seconds(now_s - state.column("begin_s")[placed], half_life_s)
    )
    accounts = list(state.accounts.by_text.values())
    for code in np.flatnonzero(seconds):
        use = past.get(accounts[code].queue, PastUse(time_s=now_s))
        past[accounts[code].queue] = with_amount_seconds(use, accounts[code].amounts, float(seconds[code]))
    return past
