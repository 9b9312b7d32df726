"""Says why a training is where it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory, View, Waiting
from mltrainer_scheduler.domain.errors import TrainingNotFoundError
from mltrainer_scheduler.domain.placement import (
    AWAITING_PLACEMENT,
    BEHIND_OTHERS,
    Refusal,
    by_queue,
    demand_of,
    place,
    usable_nodes,
)
from mltrainer_scheduler.domain.training import Allocation, SchedulingPolicy, Training, TrainingState

_MOST_BLOCKING = 20


@dataclass(frozen=True, slots=True)
class Explanation:
    """The dominant cause, one sentence, who is in the way, and the position in the queue from 1, or 0."""

    training: str
    reason: str
    message: str
    blocking: tuple[str, ...] = ()
    queue_position: int = 0


@dataclass(frozen=True, slots=True)
class ExplainTrainingHandler:
    """Looks at the same facts as the placement."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    policy: SchedulingPolicy

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
        waiting = await view.trainings.waiting(now, self.policy.queue_window)
        queue = _names(waiting, training.spec.queue)
        position = queue.index(training.name) + 1 if training.name in queue else 0
        if training.ready_time > now:
            wait_s = (training.ready_time - now).total_seconds()
            message = f"tries again in {wait_s:.1f} s after {training.reason}: {training.message}"
            return Explanation(training.name, "BACKING_OFF", message)
        if not training.computation_key:
            message = "waits for the announcement that says what it computes"
            return Explanation(training.name, training.reason, message, (), position)
        return await self._capacity(view, training, queue[: max(position - 1, 0)], position, now)

    async def _capacity(
        self, view: View, training: Training, ahead: Sequence[str], position: int, now: datetime
    ) -> Explanation:
        nodes = usable_nodes(
            await view.cluster.nodes(), await view.cluster.used(), now, self.policy.node_silence_s
        )
        decision = place(demand_of(training.name, training.spec.resources), nodes)
        if isinstance(decision, Refusal):
            held = [item.training.name for item in await view.cluster.held(_MOST_BLOCKING)]
            blocking = () if decision.is_lasting else dict.fromkeys([*ahead, *held])
            return Explanation(
                training.name, decision.reason, decision.message, tuple(blocking)[:_MOST_BLOCKING], position
            )
        if ahead:
            message = f"{len(ahead)} trainings of queue {training.spec.queue!r} go first"
            return Explanation(training.name, BEHIND_OTHERS, message, tuple(ahead[:_MOST_BLOCKING]), position)
        return Explanation(training.name, AWAITING_PLACEMENT, "is placed within a second", (), position)


def _names(waiting: Sequence[Waiting], queue: str) -> list[str]:
    entries = by_queue(item.entry for item in waiting)
    return [entry.demand.training for entry in entries.get(queue, ())]


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
