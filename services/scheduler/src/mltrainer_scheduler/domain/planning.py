"""Decides what starts and what stops: one policy of the library, between quotas and fair shares.

A plan is a function of a `ClusterState`, a time and the names of silent nodes; nothing else enters.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from mltrainer_scheduling.fair_share import (
    PastUse,
    allowances,
    dominant_share,
    faded,
    held_seconds,
    mean_amounts,
    with_amount_seconds,
)
from mltrainer_scheduling.jobs import Integers, JobTable
from mltrainer_scheduling.jobs import Share as JobShare
from mltrainer_scheduling.plan import Cause, OpenGate, Plan, Policy, PreemptionReason, Wait
from mltrainer_scheduling.quotas import NOTHING, Amounts, QuotaBook, plus
from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.domain.cluster_state import Account, ClusterState
from mltrainer_scheduler.domain.feasibility import feasible
from mltrainer_scheduler.domain.free_capacity import capacity_of, with_free
from mltrainer_scheduler.domain.reclaim import MOST_CLAIMS, next_claim, overfull, with_started, without
from mltrainer_scheduler.domain.training import SchedulingPolicy, Share

NODE_SHRANK = "NODE_SHRANK"
LARGER_THAN_QUOTA = "LARGER_THAN_QUOTA"
FAIR_SHARE_REACHED = "FAIR_SHARE_REACHED"

_BLOCK = 64
# One queue alone has the whole cluster.
_CONTENDERS = 2
# Of shares of the cluster, far below one GPU of a million.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Duration:
    """How long a training took, and how wide it was; trainings of a group last alike."""

    group: str
    gpus: float
    wall_s: float


def learned_count(count: int) -> int:
    """Returns how many durations are learned from: in blocks, since learning costs more than planning."""
    return count if count < _BLOCK else count - count % _BLOCK


@dataclass(frozen=True, slots=True)
class Begin:
    """A training gets its place."""

    training: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """A training loses its place, for a reason and usually for another training."""

    training: str
    reason: str
    beneficiary: str = ""


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why a training waits, and which trainings hold or get what it needs."""

    reason: str
    blockers: tuple[str, ...] = ()
    is_lasting: bool = False


@dataclass(frozen=True, slots=True)
class Decisions:
    """What one plan decides; stops come first."""

    stops: tuple[Stop, ...] = ()
    begins: tuple[Begin, ...] = ()
    waits: Mapping[str, Hindrance] = field(default_factory=dict)
    review_s: float = inf
    snapshot: Snapshot | None = None


class QuotaGate:
    """Lets a queue have its allowance, one gang more at most, and never more than a ceiling."""

    def __init__(
        self,
        book: QuotaBook,
        capacity: Amounts,
        accounts: Mapping[str, Account],
        allowed: Mapping[str, float],
    ) -> None:
        self._book = book
        self._capacity = capacity
        self._accounts = accounts
        self._allowed = allowed
        self.refused_for_fairness = False

    @property
    def is_open(self) -> bool:
        """Tells whether nothing bounds any queue."""
        return not self._allowed and not self._book.is_bounded

    def admits(self, queue: str, gpu_millis: int) -> bool:  # noqa: ARG002 - the account knows all amounts
        """Says whether a gang may start."""
        account = self._accounts[queue]
        if self._book.ceiling_in_the_way(account.queue, account.amounts):
            return False
        if self.is_within_allowance(account.queue):
            return True
        self.refused_for_fairness = True
        return False

    def is_within_allowance(self, queue: str) -> bool:
        """Says whether a queue and all its ancestors hold less than their allowances."""
        return all(
            dominant_share(self._book.used(name), self._capacity) < self._allowed.get(name, inf) - _ROUNDING
            for name in self._book.path(queue)
        )

    def started(self, queue: str, gpu_millis: int) -> None:  # noqa: ARG002 - the account knows all amounts
        """Counts a gang that starts."""
        account = self._accounts[queue]
        self._book.take(account.queue, account.amounts)

    def stopped(self, queue: str, gpu_millis: int) -> None:  # noqa: ARG002 - the account knows all amounts
        """Counts a gang that is preempted."""
        account = self._accounts[queue]
        self._book.take(account.queue, account.amounts, -1)


def decide(
    state: ClusterState, now_s: float, silent: Collection[str], policy: Policy, bounds: SchedulingPolicy
) -> Decisions:
    """Plans once."""
    return _Planning(state, state.snapshot(now_s, silent, bounds.terms), policy, bounds).decisions()


class _Planning:
    """One plan, step by step; each step leaves a snapshot in which its decisions are carried out."""

    def __init__(
        self, state: ClusterState, snapshot: Snapshot, policy: Policy, bounds: SchedulingPolicy
    ) -> None:
        self._state = state
        self._snapshot = snapshot
        self._policy = policy
        self._terms = bounds.terms
        self._half_life_s = bounds.half_life_s
        self._accounts = state.accounts()
        self._capacity = capacity_of(snapshot.nodes)
        self._book = self._counted(snapshot.jobs)
        self._stops: list[Stop] = []
        self._begins: list[Begin] = []

    def decisions(self) -> Decisions:
        self._relieve()
        if not len(self._snapshot.pending):
            return Decisions(tuple(self._stops), snapshot=self._snapshot)
        self._reclaim()
        waits, review_s = self._plan()
        return Decisions(tuple(self._stops), tuple(self._begins), waits, review_s, self._snapshot)

    def _counted(self, jobs: JobTable) -> QuotaBook:
        running = np.bincount(jobs.queue[jobs.running], minlength=len(jobs.queues))
        known = [self._accounts[jobs.queues[code]] for code in np.unique(jobs.queue)]
        book = QuotaBook(self._state.queues, sorted({account.queue for account in known}))
        for code in np.flatnonzero(running):
            account = self._accounts[jobs.queues[code]]
            book.take(account.queue, account.amounts, int(running[code]))
        return book

    def _relieve(self) -> None:
        """Takes back what a node cannot hold any more."""
        self._stop(overfull(self._snapshot), NODE_SHRANK)

    def _reclaim(self) -> None:
        """Gives queues back what they are guaranteed and lent to others."""
        if not any(any(queue.guaranteed) for queue in self._state.queues):
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
            account = self._account(int(row))
            self._book.take(account.queue, account.amounts, -1)
            self._stops.append(Stop(str(self._snapshot.jobs.job_id[row]), reason, beneficiary))
        self._snapshot = without(self._snapshot, rows)

    def _account(self, row: int) -> Account:
        jobs = self._snapshot.jobs
        return self._accounts[jobs.queues[jobs.queue[row]]]

    def _plan(self) -> tuple[Mapping[str, Hindrance], float]:
        gate = QuotaGate(self._book, self._capacity, self._accounts, self._allowances())
        plan = self._policy.plan(self._snapshot, OpenGate() if gate.is_open else gate)
        self._take(plan)
        if gate.refused_for_fairness and not plan.preemptions:
            # What fair shares leave over, because gangs do not fit into them, is lent.
            self._snapshot = _carried_out(self._snapshot, self._begins)
            ceilings = QuotaGate(self._book, self._capacity, self._accounts, {})
            rest = self._policy.plan(self._snapshot, ceilings)
            if not rest.preemptions:
                self._take(rest)
                plan = rest
        waits = _Waits(plan.waits, self._snapshot, self._accounts, self._book, gate)
        return waits, plan.review_s

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
        jobs = self._snapshot.jobs
        demand: dict[str, Amounts] = {}
        counts = np.bincount(jobs.queue, minlength=len(jobs.queues))
        for code in np.flatnonzero(counts):
            account = self._accounts[jobs.queues[code]]
            asked = demand.get(account.queue, NOTHING)
            demand[account.queue] = plus(asked, account.amounts, int(counts[code]))
        if len(demand) < _CONTENDERS:
            return {}
        past = past_of(self._state, self._snapshot, self._half_life_s)
        means = {queue: mean_amounts(use, self._half_life_s) for queue, use in past.items()}
        return allowances(self._book, self._capacity, means, demand)


def past_of(state: ClusterState, snapshot: Snapshot, half_life_s: float) -> dict[str, PastUse]:
    """Returns what queues have held up to now, living allocations included."""
    now_s, jobs = snapshot.now_s, snapshot.jobs
    past = {queue: faded(use, now_s, half_life_s) for queue, use in state.past.items()}
    running = np.flatnonzero(jobs.running)
    for code in np.unique(jobs.queue[running]):
        account = state.accounts()[jobs.queues[code]]
        begins_s = jobs.started_s[running[jobs.queue[running] == code]]
        seconds = float(held_seconds(now_s - begins_s, half_life_s).sum())
        use = past.get(account.queue, PastUse(time_s=now_s))
        past[account.queue] = with_amount_seconds(use, account.amounts, seconds)
    return past


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


class _Waits(Mapping[str, Hindrance]):
    """Tells why a training waits when it is asked: nearly nobody asks for most."""

    def __init__(
        self,
        waits: Mapping[str, Wait],
        snapshot: Snapshot,
        accounts: Mapping[str, Account],
        book: QuotaBook,
        gate: QuotaGate,
    ) -> None:
        self._waits = waits
        self._jobs = snapshot.jobs
        self._accounts = accounts
        self._book = book
        self._gate = gate

    def __getitem__(self, training: str) -> Hindrance:
        wait = self._waits[training]
        is_bounded = wait.cause is Cause.QUOTA_EXHAUSTED or self._gate.refused_for_fairness
        if wait.cause.is_lasting or not is_bounded:
            return Hindrance(wait.cause, wait.blockers, wait.cause.is_lasting)
        row = int(np.searchsorted(self._jobs.job_id, training))
        account = self._accounts[self._jobs.queues[self._jobs.queue[row]]]
        if self._book.lasting_ceiling(account.queue, account.amounts):
            return Hindrance(LARGER_THAN_QUOTA, is_lasting=True)
        if self._book.ceiling_in_the_way(account.queue, account.amounts):
            return Hindrance(Cause.QUOTA_EXHAUSTED, wait.blockers)
        if wait.cause is Cause.QUOTA_EXHAUSTED or not self._gate.is_within_allowance(account.queue):
            return Hindrance(FAIR_SHARE_REACHED, wait.blockers)
        return Hindrance(wait.cause, wait.blockers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._waits)

    def __len__(self) -> int:
        return len(self._waits)
