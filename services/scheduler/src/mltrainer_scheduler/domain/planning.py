"""Decides what starts and what stops: one policy of the library, between quotas and fair shares.

A plan is a function of a `Situation`; nothing else enters.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from mltrainer_scheduling.fair_share import allowances, mean_amounts
from mltrainer_scheduling.jobs import Integers
from mltrainer_scheduling.jobs import Share as JobShare
from mltrainer_scheduling.plan import OpenGate, Plan, Policy, PreemptionReason
from mltrainer_scheduling.quotas import NOTHING, Amounts, QuotaBook, plus
from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.domain.columns import Account
from mltrainer_scheduler.domain.decisions import NODE_SHRANK, Begin, Decisions, Ranking, Stop
from mltrainer_scheduler.domain.feasibility import feasible
from mltrainer_scheduler.domain.free_capacity import with_free
from mltrainer_scheduler.domain.hindrances import Waits
from mltrainer_scheduler.domain.quota_gate import QuotaGate
from mltrainer_scheduler.domain.reclaim import MOST_CLAIMS, next_claim, overfull, with_started, without
from mltrainer_scheduler.domain.situations import Situation
from mltrainer_scheduler.domain.training import SchedulingPolicy, Share

# One queue alone has the whole cluster.
_CONTENDERS = 2


def decide(situation: Situation, policy: Policy, bounds: SchedulingPolicy) -> Decisions:
    """Plans once.

    Where only a part of the cluster is in sight, nothing is reclaimed or lent: that takes a look at all.
    """
    return _Planning(situation, policy, bounds).decisions()


class _Planning:
    """One plan, step by step; each step leaves a snapshot in which its decisions are carried out."""

    def __init__(self, situation: Situation, policy: Policy, bounds: SchedulingPolicy) -> None:
        self._situation = situation
        self._snapshot = situation.snapshot
        self._policy = policy
        self._terms = bounds.terms
        self._half_life_s = bounds.half_life_s
        self._accounts = situation.accounts
        self._texts = situation.snapshot.jobs.queues
        self._book = self._counted()
        self._stops: list[Stop] = []
        self._begins: list[Begin] = []

    def decisions(self) -> Decisions:
        self._relieve()
        if not len(self._snapshot.pending):
            return Decisions(tuple(self._stops), snapshot=self._snapshot)
        if self._situation.is_whole:
            self._reclaim()
        return self._plan()

    def _counted(self) -> QuotaBook:
        running = self._situation.running
        known = [self._accounts[self._texts[code]] for code in np.flatnonzero(self._situation.asked)]
        book = QuotaBook(self._situation.queues, sorted({account.queue for account in known}))
        for code in np.flatnonzero(running):
            account = self._accounts[self._texts[code]]
            book.take(account.queue, account.amounts, int(running[code]))
        return book

    def _relieve(self) -> None:
        """Takes back what a node cannot hold any more."""
        self._stop(overfull(self._snapshot), NODE_SHRANK)

    def _reclaim(self) -> None:
        """Gives queues back what they are guaranteed and lent to others."""
        if not any(any(queue.guaranteed) for queue in self._situation.queues):
            return
        for _ in range(MOST_CLAIMS):
            claim = next_claim(self._snapshot, self._book, self._accounts, self._terms)
            if claim is None:
                return
            self._stop(claim.victims, PreemptionReason.RECLAIMED, claim.training)
            row = int(np.flatnonzero(self._snapshot.jobs.job_id == claim.training)[0])
            account = self._account(row)
            self._book.take(account.queue, account.amounts)
            self._begins.append(Begin(claim.training, claim.shares))
            self._snapshot = with_started(self._snapshot, claim.training, claim.shares)

    def _stop(self, rows: Integers, reason: str, beneficiary: str = "") -> None:
        if not len(rows):
            return
        for row in rows:
            account, name = self._account(int(row)), str(self._snapshot.jobs.job_id[row])
            self._book.take(account.queue, account.amounts, -1)
            begins = [begin for begin in self._begins if begin.training != name]
            if len(begins) == len(self._begins):
                self._stops.append(Stop(name, reason, beneficiary))
            # What would begin with this very plan, and gives way to a later claim, does not begin at all.
            self._begins = begins
        self._snapshot = without(self._snapshot, rows)

    def _account(self, row: int) -> Account:
        jobs = self._snapshot.jobs
        return self._accounts[jobs.queues[jobs.queue[row]]]

    def _plan(self) -> Decisions:
        gate = QuotaGate(self._book, self._situation.capacity, self._accounts, self._allowances())
        plan = self._policy.plan(self._snapshot, OpenGate() if gate.is_open else gate)
        self._take(plan)
        if gate.refused_for_fairness and not plan.preemptions and self._situation.is_whole:
            # What fair shares leave over, because gangs do not fit into them, is lent.
            self._snapshot = _carried_out(self._snapshot, self._begins)
            ceilings = QuotaGate(self._book, self._situation.capacity, self._accounts, {})
            rest = self._policy.plan(self._snapshot, ceilings)
            if not rest.preemptions:
                self._take(rest)
                plan = rest
        stops, begins = tuple(self._stops), tuple(self._begins)
        if not self._situation.is_whole:
            # What is in the way in a part of the cluster says nothing about the rest.
            return Decisions(stops, begins, review_s=plan.review_s)
        waits = Waits(plan.waits, self._snapshot, self._accounts, self._book, gate)
        left_out = self._situation.left_out
        return Decisions(stops, begins, waits, plan.review_s, self._snapshot, _ranking(plan), left_out)

    def _take(self, plan: Plan) -> None:
        snapshot, nodes = self._snapshot, self._snapshot.nodes
        stopped = {stop.job_id for stop in plan.preemptions}
        if stopped:
            snapshot = _halted(snapshot, stopped)
        for stop in plan.preemptions:
            self._stops.append(Stop(stop.job_id, stop.reason, stop.beneficiary))
        is_spot = dict(zip(nodes.name.tolist(), nodes.spot.tolist(), strict=True))
        places: dict[tuple[JobShare, ...], tuple[Share, ...]] = {}
        for start in feasible(snapshot, plan.starts):
            shares = places.get(start.shares)
            if shares is None:
                shares = places[start.shares] = tuple(
                    Share(share.node, share.workers, is_spot[share.node], share.device)
                    for share in start.shares
                )
            self._begins.append(Begin(start.job_id, shares))

    def _allowances(self) -> dict[str, float]:
        demand: dict[str, Amounts] = {}
        for code in np.flatnonzero(self._situation.asked):
            account = self._accounts[self._texts[code]]
            asked = demand.get(account.queue, NOTHING)
            demand[account.queue] = plus(asked, account.amounts, int(self._situation.asked[code]))
        if len(demand) < _CONTENDERS:
            return {}
        past = self._situation.past
        means = {queue: mean_amounts(use, self._half_life_s) for queue, use in past.items()}
        return allowances(self._book, self._situation.capacity, means, demand)


def _ranking(plan: Plan) -> Ranking | None:
    if not plan.order:
        return None
    hopeless = tuple(name for name, wait in plan.waits.items() if wait.cause.is_lasting)
    return Ranking(plan.order, plan.urgency_s, hopeless)


def _carried_out(snapshot: Snapshot, begins: Sequence[Begin]) -> Snapshot:
    running = set(snapshot.jobs.job_id[snapshot.jobs.running])
    for begin in begins:
        if begin.training not in running:
            snapshot = with_started(snapshot, begin.training, begin.shares)
    return snapshot


def _halted(snapshot: Snapshot, stopped: Collection[str]) -> Snapshot:
    """Returns a snapshot in which some trainings wait and hold nothing."""
    jobs = snapshot.jobs
    halted = np.isin(jobs.job_id.astype(str), list(stopped))
    left = ~halted[jobs.share_job]
    waiting = replace(
        jobs,
        running=jobs.running & ~halted,
        share_job=jobs.share_job[left],
        share_node=jobs.share_node[left],
        share_workers=jobs.share_workers[left],
        share_device=jobs.share_device[left],
    )
    return replace(snapshot, jobs=waiting, nodes=with_free(waiting, snapshot.nodes))
