"""Keeps the copy of the cluster that this process plans from, and what it planned last."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import inf

from mltrainer_scheduling.plan import Cause, Policy
from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.application.ports import KnowledgeRepository, PlanningRepository
from mltrainer_scheduler.domain.catalogue import Knowledge
from mltrainer_scheduler.domain.cluster_state import ClusterState
from mltrainer_scheduler.domain.decisions import Decisions, Hindrance
from mltrainer_scheduler.domain.facts import Delta, TrainingFact
from mltrainer_scheduler.domain.planning import decide
from mltrainer_scheduler.domain.situations import around_events, whole
from mltrainer_scheduler.domain.training import SchedulingPolicy

_FRESH = timedelta(seconds=2)
_SHOWN_S = 0.5
_MOST_AHEAD = 20
# Between two looks for checkpoints, and how long a report of one may take until it is to be seen.
_CHECKPOINTS_EVERY = timedelta(seconds=1)
_COMMIT_WITHIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often everything is planned anew.

    Attributes:
        full_interval_s: Between two full plans; what happens in between is planned around its events.
        narrow_from: With fewer trainings every plan is a full one, for it costs no more.
    """

    full_interval_s: float = 1.0
    narrow_from: int = 1_000


class Planner:
    """Follows the database and plans; whatever it knows can be read again after a crash."""

    def __init__(self, policy: Policy, bounds: SchedulingPolicy, cadence: Cadence | None = None) -> None:
        self._policy = policy
        self._bounds = bounds
        self._cadence = cadence or Cadence()
        self._planned_revision = -1
        self._next_s = -inf
        self._full_time_s = -inf
        self._silent_then: frozenset[str] = frozenset()
        self._planned_time = datetime.min.replace(tzinfo=UTC)
        self._checkpoints_time: datetime | None = None
        self._knowledge: Knowledge | None = None
        self._planning = asyncio.Lock()
        self._shown: Snapshot | None = None
        self._shown_revision = -1
        self.state = ClusterState()
        self.silent: frozenset[str] = frozenset()
        # Of the last full plan, whose causes are those of the whole cluster.
        self.decisions = Decisions()

    async def is_due(self, planning: PlanningRepository, now: datetime) -> bool:
        """Tells whether anything has changed since the last plan, or time alone changes something."""
        if self.is_known_due(now) or await planning.revision() != self._planned_revision:
            return True
        return await self._find_silent(planning, now) != self.silent

    def is_known_due(self, now: datetime, own_revision: int = -1) -> bool:
        """Tells, without a look at the database, whether time or this process has changed something."""
        return now.timestamp() >= self._next_s or own_revision > self._planned_revision

    async def follow(
        self, planning: PlanningRepository, now: datetime, silent: frozenset[str] | None = None
    ) -> None:
        """Takes over what has changed; `silent` spares a look for silent nodes."""
        for delta in await planning.changes(self.state.revision, self.state.durations.count):
            # Somebody else may have taken over more while this was read.
            if delta.revision > self.state.revision:
                self.state.apply(delta)
        await self._follow_checkpoints(planning, now)
        self.silent = await self._find_silent(planning, now) if silent is None else silent

    async def _follow_checkpoints(self, planning: PlanningRepository, now: datetime) -> None:
        """Takes over until when work is safe: not with every report, for only a later plan depends on it."""
        since = self._checkpoints_time or now - _CHECKPOINTS_EVERY
        if timedelta(0) <= now - since < _CHECKPOINTS_EVERY:
            return
        self._checkpoints_time = now
        # Reports become visible in any order, and clocks of replicas differ and may be set back.
        found = await planning.checkpoints_s(min(since, now) - _COMMIT_WITHIN)
        self.state.apply(Delta(self.state.revision, checkpoints_s=found))

    async def knowledge(self, repository: KnowledgeRepository) -> Knowledge:
        """Returns the replicated tables as of the state that was followed last."""
        if self._knowledge is None or self._knowledge.revision != self.state.knowledge:
            self._knowledge = await repository.load()
        return self._knowledge

    async def plan(self, now: datetime) -> Decisions:
        """Decides on the state that was followed last: anew, or around what has happened since."""
        async with self._planning:
            if self._is_narrow(now.timestamp()):
                return self._plan_events(now)
            return await self._plan_all(now)

    async def refresh(self, planning: PlanningRepository, now: datetime) -> None:
        """Takes over what has changed; plans anew, without consequences, if the last plan is old.

        The process that leads plans all the time, so that answers about its plan cost none.
        """
        if self._planning.locked():
            return
        is_old = not timedelta(0) <= now - self._planned_time <= _FRESH
        is_due = is_old and await self.is_due(planning, now)
        await self.follow(planning, now, None if is_old else self.silent)
        if is_due:
            async with self._planning:
                await self._plan_all(now)

    def snapshot(self, now: datetime) -> Snapshot:
        """Returns what a plan would begin with now; of a large cluster perhaps half a second ago."""
        age_s = now.timestamp() - self._shown.now_s if self._shown else inf
        is_same = self._shown_revision == self.state.revision or len(self.state) >= self._cadence.narrow_from
        if self._shown is None or not is_same or not 0.0 <= age_s <= _SHOWN_S:
            self._shown = whole(self.state, now.timestamp(), self.silent, self._bounds).snapshot
            self._shown_revision = self.state.revision
        return self._shown

    async def imagine(self, fact: TrainingFact, now: datetime) -> tuple[Decisions, int]:
        """Plans with one training more, and returns also how many would be ahead of it in its queue."""
        async with self._planning:
            state, revision = self.state, self.state.revision
            state.apply(Delta(revision, trainings=(fact,)))
            try:
                situation = whole(state, now.timestamp(), self.silent, self._bounds)
                _, ahead = state.ahead_of(fact.name, 1)
            finally:
                state.apply(Delta(revision, trainings=(replace(fact, is_queued=False),)))
            return await asyncio.to_thread(decide, situation, self._policy, self._bounds), ahead

    def hindrance(self, name: str) -> Hindrance | None:
        """Says why a training waits by the last full plan; of very many, most are behind others."""
        wait = self.decisions.waits.get(name)
        if wait is None and self.decisions.left_out:
            return Hindrance(Cause.BEHIND_OTHERS)
        return wait

    def ahead_of(self, name: str) -> tuple[list[str], int]:
        """Names the next of those that go before a training in its queue, and counts all of them."""
        return self.state.ahead_of(name, _MOST_AHEAD)

    def settle(self, revision: int) -> None:
        """Takes note that the plan was carried out, as the change of this number."""
        self._planned_revision = revision

    def _is_narrow(self, now_s: float) -> bool:
        return (
            len(self.state) >= self._cadence.narrow_from
            and 0.0 <= now_s - self._full_time_s < self._cadence.full_interval_s
            and self.decisions.ranking is not None
            and not self.state.has_changed_widely
            and self.silent == self._silent_then
        )

    def _plan_events(self, now: datetime) -> Decisions:
        now_s = now.timestamp()
        decisions = decide(
            around_events(self.state, now_s, self.silent, self._bounds), self._policy, self._bounds
        )
        self.state.has_planned()
        self._planned_time = now
        self._next_s = min(self._full_time_s + self._cadence.full_interval_s, self.state.next_change_s(now_s))
        return decisions

    async def _plan_all(self, now: datetime) -> Decisions:
        now_s = now.timestamp()
        situation = whole(self.state, now_s, self.silent, self._bounds)
        if len(self.state) < self._cadence.narrow_from:
            decisions = decide(situation, self._policy, self._bounds)
        else:
            # Calls are answered meanwhile.
            decisions = await asyncio.to_thread(decide, situation, self._policy, self._bounds)
        ranking = decisions.ranking
        if ranking is not None:
            self.state.remember(ranking.order, ranking.urgency_s, ranking.hopeless)
        self.state.has_planned()
        self.decisions = decisions
        self._planned_time, self._full_time_s, self._silent_then = now, now_s, self.silent
        self._next_s = self._next_look_s(now_s)
        return decisions

    def _next_look_s(self, now_s: float) -> float:
        # Who does not know what it computes may learn it, or be refused, as time passes.
        if self.state.keyless(now_s):
            return now_s
        terms = self._bounds.terms
        later = min(self.decisions.review_s, self.state.next_preemptible_s(now_s, terms))
        if terms.minimum_run_s > 0.0 and self.decisions.begins and self.decisions.waits:
            later = min(later, now_s + terms.minimum_run_s)
        if len(self.state) >= self._cadence.narrow_from:
            later = max(later, now_s + self._cadence.full_interval_s)
        return min(later, self.state.next_change_s(now_s))

    async def _find_silent(self, planning: PlanningRepository, now: datetime) -> frozenset[str]:
        return await planning.silent(now - timedelta(seconds=self._bounds.node_silence_s))
