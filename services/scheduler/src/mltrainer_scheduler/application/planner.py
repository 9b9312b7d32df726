"""Keeps the copy of the cluster that this process plans from, and what it planned last."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf

from mltrainer_scheduling.plan import Policy
from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.application.ports import PlanningRepository
from mltrainer_scheduler.domain.cluster_state import ClusterState
from mltrainer_scheduler.domain.facts import Delta, TrainingFact
from mltrainer_scheduler.domain.planning import Decisions, decide
from mltrainer_scheduler.domain.training import SchedulingPolicy

_FRESH = timedelta(seconds=2)


class Planner:
    """Follows the database and plans; whatever it knows can be read again after a crash."""

    def __init__(self, policy: Policy, bounds: SchedulingPolicy) -> None:
        self._policy = policy
        self._bounds = bounds
        self._planned_revision = -1
        self._next_s = -inf
        self.state = ClusterState()
        self.silent: frozenset[str] = frozenset()
        self.decisions = Decisions()
        self._planned_time = datetime.min.replace(tzinfo=UTC)

    async def is_due(self, planning: PlanningRepository, now: datetime) -> bool:
        """Tells whether anything has changed since the last plan, or time alone changes something."""
        if now.timestamp() >= self._next_s or await planning.revision() != self._planned_revision:
            return True
        return await self._silent(planning, now) != self.silent

    async def follow(self, planning: PlanningRepository, now: datetime) -> None:
        """Reads what has changed."""
        self.state.apply(await planning.changes(self.state.revision, self.state.learned))
        self.silent = await self._silent(planning, now)

    def plan(self, now: datetime) -> Decisions:
        """Decides on the state that was read last."""
        now_s = now.timestamp()
        self.decisions = decide(self.state, now_s, self.silent, self._policy, self._bounds)
        self._planned_time = now
        # Who does not know what it computes may learn it, or be refused, as time passes.
        keyless = self.state.keyless(now_s)
        next_s = self.state.next_time_s(now_s, self._bounds.terms)
        self._next_s = now_s if keyless else min(self.decisions.review_s, next_s)
        return self.decisions

    async def refresh(self, planning: PlanningRepository, now: datetime) -> None:
        """Reads what has changed; plans anew, without consequences, if the last plan is old.

        The process that leads plans all the time, so that answers about its plan cost none.
        """
        is_old = not timedelta(0) <= now - self._planned_time <= _FRESH
        is_due = is_old and await self.is_due(planning, now)
        await self.follow(planning, now)
        if is_due:
            self.plan(now)

    def snapshot(self, now: datetime) -> Snapshot:
        """Returns what a plan would begin with now."""
        return self.state.snapshot(now.timestamp(), self.silent, self._bounds.terms)

    def imagine(self, fact: TrainingFact, now: datetime) -> tuple[Decisions, int]:
        """Plans with one training more, and returns also how many would be ahead of it in its queue."""
        state, revision = self.state, self.state.revision
        state.apply(replace(_nothing(state), trainings=(fact,)))
        try:
            decisions = decide(state, now.timestamp(), self.silent, self._policy, self._bounds)
            return decisions, len(state.ahead_of(fact.name))
        finally:
            state.apply(replace(_nothing(state), trainings=(replace(fact, is_queued=False),)))
            assert state.revision == revision

    def settle(self, revision: int) -> None:
        """Takes note that the plan was carried out, as the change of this number."""
        self._planned_revision = revision

    async def _silent(self, planning: PlanningRepository, now: datetime) -> frozenset[str]:
        return await planning.silent(now - timedelta(seconds=self._bounds.node_silence_s))


def _nothing(state: ClusterState) -> Delta:
    return Delta(state.revision, knowledge=state.knowledge, learned=state.learned)
