"""Gives waiting trainings their place, one pass at a time."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from mltrainer_scheduler.application import computations
from mltrainer_scheduler.application.ports import Clock, NewId, UnitOfWork, UnitOfWorkFactory, Waiting
from mltrainer_scheduler.application.resolve_training import KeyResolver, Resolution, Resolved, Waits
from mltrainer_scheduler.domain import lifecycle
from mltrainer_scheduler.domain.catalogue import Knowledge
from mltrainer_scheduler.domain.keys import closed_as_of
from mltrainer_scheduler.domain.lifecycle import Cause, Change
from mltrainer_scheduler.domain.placement import (
    AWAITING_PLACEMENT,
    Decision,
    Node,
    Placement,
    Refusal,
    plan,
    usable_nodes,
)
from mltrainer_scheduler.domain.training import SchedulingPolicy, Training, TrainingState

DEADLINE_EXCEEDED = Cause("DEADLINE_EXCEEDED", "the deadline passed before an attempt could begin")
# Usually capacity ends long before it; reading a deep queue to its end at every event would cost more.
_SHORT_WINDOW = 64


@dataclass(frozen=True, slots=True)
class PassResult:
    """What one pass did; `try_again` where it learned something that it has not used."""

    placed: tuple[Training, ...] = ()
    try_again: bool = False


@dataclass(frozen=True, slots=True)
class PlaceTrainingsHandler:
    """Places what fits; two replicas may try at once, and the slower one is undone."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    new_id: NewId
    resolve: KeyResolver
    policy: SchedulingPolicy

    async def __call__(self) -> PassResult:
        """Makes one pass over the heads of the queues."""
        now = self.clock.now()
        async with self.unit_of_work.view() as view:
            if not await view.trainings.is_any_waiting(now):
                return PassResult()
        async with self.unit_of_work() as uow:
            step = _Pass(self, uow, await uow.knowledge.load(), now)
            for training in await uow.trainings.unsettled(now, self.policy.queue_window):
                await step.settle(training)
            if not await step.look(_SHORT_WINDOW):
                await step.look(self.policy.queue_window)
            await step.place()
            if step.has_changes:
                await uow.commit()
        return PassResult(tuple(step.placed), step.try_again)


class _Pass:
    """One pass in one transaction."""

    def __init__(
        self, handler: PlaceTrainingsHandler, uow: UnitOfWork, knowledge: Knowledge, now: datetime
    ) -> None:
        self._handler = handler
        self._uow = uow
        self._knowledge = knowledge
        self._now = now
        self._candidates: dict[str, Waiting] = {}
        self._decisions: tuple[Decision, ...] = ()
        self.placed: list[Training] = []
        self.has_changes = False
        self.try_again = False

    async def settle(self, training: Training) -> None:
        """Ends a training that is late, or finds out what it computes."""
        deadline = training.spec.budget.deadline_time if training.spec.budget else None
        if deadline is not None and deadline <= self._now:
            await self._store(training, lifecycle.fail(training, (), DEADLINE_EXCEEDED, self._now))
            await computations.release(self._uow, training)
        elif self._knowledge.release is not None and self._knowledge.views:
            resolution = await self._handler.resolve(self._uow, training, self._knowledge, self._now)
            await self._store_unplaced(training, resolution)

    async def look(self, window: int) -> bool:
        """Plans for the heads of the queues and tells whether those behind them would change nothing."""
        waiting = await self._uow.trainings.waiting(self._now, window)
        self._candidates = {item.entry.demand.training: item for item in waiting}
        self._decisions = ()
        if waiting:
            self._decisions = plan((item.entry for item in waiting), await self._nodes())
        return len(waiting) < window or len(self._decisions) < len(waiting)

    async def place(self) -> None:
        if not self._decisions:
            return
        cluster_revision = await self._uow.cluster.revision()
        for decision in self._decisions:
            item = self._candidates[decision.training]
            cluster_revision = await self._carry_out(decision, item, cluster_revision)

    async def _nodes(self) -> tuple[Node, ...]:
        cluster = self._uow.cluster
        silence_s = self._handler.policy.node_silence_s
        return usable_nodes(await cluster.nodes(), await cluster.used(), self._now, silence_s)

    async def _carry_out(self, decision: Decision, item: Waiting, cluster_revision: int) -> int:
        match decision:
            case Placement():
                return await self._begin(decision, cluster_revision)
            case Refusal(reason=reason, message=message):
                if reason != item.reason:
                    training = await self._load(decision.training)
                    await self._store(training, lifecycle.queue(training, reason, message))
                return cluster_revision
            case _:
                assert_never(decision)

    async def _begin(self, placement: Placement, cluster_revision: int) -> int:
        training = await self._load(placement.training)
        resolution = await self._handler.resolve(self._uow, training, self._knowledge, self._now)
        if not isinstance(resolution, Resolved):
            await self._store_unplaced(training, resolution)
            return cluster_revision
        change = lifecycle.place_on(
            resolution.training,
            {f"allocations/{self._handler.new_id()}": share for share in placement.shares},
            closed_as_of(training.spec, self._handler.resolve.calendar),
            self._now,
            self._handler.policy.lease_s,
        )
        await self._uow.trainings.save(change.training, training.revision)
        computations.publish(self._uow, change)
        self.placed.append(change.training)
        self.has_changes = True
        return await self._uow.cluster.allocate(change.allocations, cluster_revision)

    async def _store_unplaced(self, training: Training, resolution: Resolution) -> None:
        match resolution:
            case Change():
                await self._store(training, resolution)
            case Resolved(training=resolved):
                await self._store(training, lifecycle.queue(resolved, AWAITING_PLACEMENT))
            case Waits(reason=reason):
                if reason == training.reason:
                    return
                await self._store(training, lifecycle.queue(replace(training, computation_key=""), reason))
            case _:
                assert_never(resolution)
        self.try_again = True

    async def _store(self, before: Training, change: Change) -> None:
        await computations.store(self._uow, before, change)
        self.has_changes = True

    async def _load(self, name: str) -> Training:
        training = await self._uow.trainings.get(name)
        assert training is not None
        assert training.state is TrainingState.QUEUED
        return training
