"""Says why a training is where it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory, View
from mltrainer_scheduler.domain.cluster import AWAITING_PLACEMENT
from mltrainer_scheduler.domain.decisions import Hindrance
from mltrainer_scheduler.domain.errors import TrainingNotFoundError
from mltrainer_scheduler.domain.forecast import start_of, total
from mltrainer_scheduler.domain.reasons import sentence
from mltrainer_scheduler.domain.training import Allocation, Training, TrainingState

_MOST_BLOCKING = 20


@dataclass(frozen=True, slots=True)
class Explanation:
    """The dominant cause, one sentence, who is in the way, and the position in the queue from 1, or 0."""

    training: str
    reason: str
    message: str
    blocking: tuple[str, ...] = ()
    queue_position: int = 0
    earliest_start_time: datetime | None = None
    latest_start_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ExplainTrainingHandler:
    """Answers from the last plan, so that an answer costs no plan."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    planner: Planner

    async def __call__(self, name: str) -> Explanation:
        """Explains one training.

        Raises:
            TrainingNotFoundError: It does not exist.
        """
        async with self.unit_of_work.view() as view:
            training = await view.trainings.get(name)
            if training is None:
                raise TrainingNotFoundError(name)
            if training.state is TrainingState.QUEUED:
                return await self._waiting(view, training)
            if training.state is TrainingState.PLACED:
                return _executing(training, await view.cluster.held_by(name))
        blocking = (training.duplicate_of,) if training.state is TrainingState.JOINED else ()
        return Explanation(name, training.reason, training.message, blocking)

    async def _waiting(self, view: View, training: Training) -> Explanation:
        now = self.clock.now()
        if training.ready_time > now:
            wait_s = (training.ready_time - now).total_seconds()
            message = f"tries again in {wait_s:.1f} s after {training.reason}: {training.message}"
            return Explanation(training.name, "BACKING_OFF", message)
        if not training.computation_key:
            message = "waits for the announcement that says what it computes"
            return Explanation(training.name, training.reason, message)
        await self.planner.refresh(view.planning, now)
        return self._capacity(training, now)

    def _capacity(self, training: Training, now: datetime) -> Explanation:
        state, name = self.planner.state, training.name
        wait = self.planner.hindrance(name)
        ahead, count = self.planner.ahead_of(name) if name in state.facts else ([], 0)
        if wait is None or name not in state.facts:
            message = "is placed within a second"
            return Explanation(name, AWAITING_PLACEMENT, message, queue_position=count + 1)
        early = late = None
        if not wait.is_lasting:
            early, late = self._start(name, count, now)
        blocking = _blocking(wait, ahead)
        message = sentence(wait, state.facts[name].demand, training.spec.queue)
        return Explanation(name, wait.reason, message, blocking, count + 1, early, late)

    def _start(self, name: str, ahead: int, now: datetime) -> tuple[datetime | None, datetime | None]:
        demand = self.planner.state.facts[name].demand
        needed = total(demand.worker.amounts, demand.workers)
        found = start_of(self.planner.snapshot(now), ahead, needed)
        if found is None:
            return None, None
        return now + timedelta(seconds=found.early_s), now + timedelta(seconds=found.late_s)


def _blocking(wait: Hindrance, ahead: Sequence[str]) -> tuple[str, ...]:
    if wait.is_lasting:
        return ()
    return tuple(dict.fromkeys([*ahead, *wait.blockers]))[:_MOST_BLOCKING]


def _executing(training: Training, held: Sequence[Allocation]) -> Explanation:
    nodes = ", ".join(dict.fromkeys(allocation.share.node for allocation in held))
    leading = held[0] if held else None
    if leading is None or not leading.stage:
        return Explanation(
            training.name, "STARTING", f"attempt {training.attempt_count} is about to start on {nodes}"
        )
    message = (
        f"attempt {training.attempt_count} executes on {nodes}: {leading.stage}, {leading.progress:.0%} done"
    )
    return Explanation(training.name, "EXECUTING", message)
