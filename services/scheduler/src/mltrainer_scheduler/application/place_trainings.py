"""Gives waiting trainings their place, one plan in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import assert_never

from mltrainer_scheduler.application import accounting, computations
from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.ports import Clock, NewId, UnitOfWork, UnitOfWorkFactory
from mltrainer_scheduler.application.resolve_training import KeyResolver, Resolution, Resolved, Waits
from mltrainer_scheduler.domain import lifecycle
from mltrainer_scheduler.domain.catalogue import Knowledge
from mltrainer_scheduler.domain.cluster import AWAITING_PLACEMENT
from mltrainer_scheduler.domain.decisions import Begin, Hindrance, Stop
from mltrainer_scheduler.domain.keys import closed_as_of
from mltrainer_scheduler.domain.lifecycle import Cause, Change
from mltrainer_scheduler.domain.training import SchedulingPolicy, Training, TrainingState

DEADLINE_EXCEEDED = Cause("DEADLINE_EXCEEDED", "the deadline passed before an attempt could begin")
# Of one pass: what is left over is told or settled by the next ones.
_MOST_SETTLED = 1_000
_MOST_TOLD = 16


@dataclass(frozen=True, slots=True)
class PassResult:
    """What one pass did; `try_again` where it learned something that it has not used."""

    placed: tuple[Training, ...] = ()
    stopped: tuple[Training, ...] = ()
    try_again: bool = False


@dataclass(frozen=True, slots=True)
class PlaceTrainingsHandler:
    """Plans for the leader and carries the plan out; whoever does not lead does nothing."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    new_id: NewId
    resolve: KeyResolver
    policy: SchedulingPolicy
    planner: Planner
    holder: str

    async def __call__(self) -> PassResult:
        """Makes one pass."""
        now = self.clock.now()
        if not await self._is_due(now):
            return PassResult()
        heard_since = now - timedelta(seconds=self.policy.node_silence_s)
        async with self.unit_of_work() as uow:
            lock = await uow.planning.lock_for_leader(self.holder, heard_since)
            if lock is None:
                return PassResult()
            await self.planner.follow(uow.planning, now, lock.silent)
            step = _Pass(self, uow, await self.planner.knowledge(uow.knowledge), now)
            await step.settle()
            decisions = await self.planner.plan(now)
            await step.stop(decisions.stops)
            await step.begin(decisions.begins)
            await step.tell(decisions.waits)
            if step.has_changes:
                await uow.commit()
        if not step.try_again:
            self.planner.settle(lock.number if step.has_changes else lock.number - 1)
        return PassResult(tuple(step.placed), tuple(step.stopped), step.try_again)

    async def _is_due(self, now: datetime) -> bool:
        if self.planner.is_known_due(now, self.unit_of_work.own_revision()):
            return True
        async with self.unit_of_work.view() as view:
            return await self.planner.is_due(view.planning, now)


class _Pass:
    """One pass in one transaction."""

    def __init__(
        self, handler: PlaceTrainingsHandler, uow: UnitOfWork, knowledge: Knowledge, now: datetime
    ) -> None:
        self._handler = handler
        self._uow = uow
        self._knowledge = knowledge
        self._now = now
        self._touched: set[str] = set()
        self._moved: set[str] = set()
        self.placed: list[Training] = []
        self.stopped: list[Training] = []
        self.has_changes = False
        self.try_again = False

    async def settle(self) -> None:
        """Ends trainings that are late, and finds out what the others compute."""
        state, now_s = self._handler.planner.state, self._now.timestamp()
        late = await self._uow.trainings.get_all(state.late(now_s)[:_MOST_SETTLED])
        for training in late.values():
            await self._store(training, lifecycle.fail(training, (), DEADLINE_EXCEEDED, self._now))
            await computations.release(self._uow, training)
        if self._knowledge.release is None or not self._knowledge.views:
            return
        keyless = await self._uow.trainings.get_all(state.keyless(now_s)[:_MOST_SETTLED])
        for training in keyless.values():
            resolution = await self._handler.resolve(self._uow, training, self._knowledge, self._now)
            await self._store_unplaced(training, resolution)

    async def stop(self, stops: Sequence[Stop]) -> None:
        """Takes places back."""
        if not stops:
            return
        trainings = await self._uow.trainings.get_all({item.training for item in stops})
        held = await self._uow.cluster.held_by_all(trainings)
        changes = [
            lifecycle.preempt(trainings[item.training], held[item.training], _cause(item), self._now)
            for item in stops
        ]
        await self._store_all(changes)
        # One that is moved gets another place in the same plan.
        self._moved = set(trainings)
        await self._uow.cluster.update([item for change in changes for item in change.allocations])
        await accounting.charge(self._uow, changes, self._handler.policy.half_life_s)
        self.stopped += [change.training for change in changes]
        self.try_again = True

    async def begin(self, begins: Sequence[Begin]) -> None:
        """Begins attempts."""
        found = await self._uow.trainings.get_all({item.training for item in begins})
        changes = []
        for item in begins:
            training = await self._ready(found[item.training])
            if training is not None:
                changes.append(self._placed(training, item))
        if changes:
            await self._store_all(changes)
            await self._uow.cluster.allocate([item for change in changes for item in change.allocations])
            self.placed += [change.training for change in changes]

    async def tell(self, waits: Mapping[str, Hindrance]) -> None:
        """Says once why a training waits; `ExplainTraining` always knows the present cause."""
        if not waits:
            return
        untold = self._handler.planner.state.untold
        waiting = (name for name in untold if name in waits and name not in self._touched)
        chosen = list(islice(waiting, _MOST_TOLD))
        if not chosen:
            return
        found = await self._uow.trainings.get_all(chosen)
        await self._store_all(
            [lifecycle.queue(training, waits[name].reason) for name, training in found.items()]
        )

    async def _ready(self, training: Training) -> Training | None:
        assert training.state is TrainingState.QUEUED
        if training.name in self._touched - self._moved:
            return None
        if training.knowledge == self._knowledge.revision and training.computation_key:
            return training
        resolution = await self._handler.resolve(self._uow, training, self._knowledge, self._now)
        if isinstance(resolution, Resolved):
            return resolution.training
        await self._store_unplaced(training, resolution)
        return None

    def _placed(self, training: Training, item: Begin) -> Change:
        handler = self._handler
        return lifecycle.place_on(
            training,
            {f"allocations/{handler.new_id()}": share for share in item.shares},
            closed_as_of(training.spec, handler.resolve.calendar),
            self._now,
            handler.policy.lease_s,
        )

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
        self._touched.add(before.name)
        self.has_changes = True

    async def _store_all(self, changes: Sequence[Change]) -> None:
        await self._uow.trainings.save_all([change.training for change in changes])
        for change in changes:
            computations.publish(self._uow, change)
            self._touched.add(change.training.name)
        self.has_changes = True


def _cause(stop: Stop) -> Cause:
    if stop.beneficiary:
        return Cause(stop.reason, f"gave its place to {stop.beneficiary}")
    return Cause(stop.reason, "its node has less than it holds")
