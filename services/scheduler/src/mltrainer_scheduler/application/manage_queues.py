"""Sets the tree of queues, and tells what each queue holds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mltrainer_scheduling.fair_share import dominant_share, mean_amounts
from mltrainer_scheduling.quotas import NOTHING, Amounts, Queue, QuotaBook, check_queues, plus

from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory
from mltrainer_scheduler.domain.cluster_state import ClusterState
from mltrainer_scheduler.domain.errors import QueuesChangedError
from mltrainer_scheduler.domain.free_capacity import capacity_of
from mltrainer_scheduler.domain.situations import past_of
from mltrainer_scheduler.domain.training import SchedulingPolicy


@dataclass(frozen=True, slots=True)
class QueueUse:
    """A queue and what it holds; `is_listed` where it was set, not only named by a training."""

    queue: Queue
    used: Amounts
    queued_count: int
    placed_count: int
    share: float
    past_share: float
    is_listed: bool


@dataclass(frozen=True, slots=True)
class QueuesHandler:
    """Reads and replaces the whole tree."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    planner: Planner
    policy: SchedulingPolicy

    async def set(self, queues: Sequence[Queue], revision: int | None) -> None:
        """Replaces the tree, of a revision unless that is None.

        Raises:
            QueueTreeError: It is none that could be kept.
            QueuesChangedError: Another one was set meanwhile.
        """
        check_queues(queues)
        async with self.unit_of_work() as uow:
            await uow.planning.lock()
            present = await uow.planning.queues_revision()
            if revision is not None and revision != present:
                raise QueuesChangedError(str(present))
            await uow.planning.set_queues(queues)
            await uow.commit()

    async def list(self, limit: int, after: str) -> tuple[list[QueueUse], int]:
        """Returns queues by name after a name, and the revision of the tree."""
        now = self.clock.now()
        async with self.unit_of_work.view() as view:
            revision = await view.planning.queues_revision()
            await self.planner.follow(view.planning, now)
        state = self.planner.state
        uses = _uses(state, now.timestamp(), self.policy)
        return [use for use in uses if use.queue.name > after][:limit], revision


def _uses(state: ClusterState, now_s: float, policy: SchedulingPolicy) -> list[QueueUse]:
    capacity = capacity_of(state.empty_nodes(()))
    facts = state.facts.values()
    past = past_of(state, now_s, policy.half_life_s)
    book = QuotaBook(state.queues, {*(fact.queue for fact in facts), *past})
    listed = {queue.name for queue in state.queues}
    queued, placed = Counter[str](), Counter[str]()
    for fact in facts:
        (queued if fact.is_queued else placed)[fact.queue] += 1
        if not fact.is_queued:
            book.take(fact.queue, plus(NOTHING, fact.demand.worker.amounts, fact.demand.workers))
    means = {name: mean_amounts(use, policy.half_life_s) for name, use in past.items()}
    return [
        QueueUse(
            book.queues[name],
            book.used(name),
            queued[name],
            placed[name],
            dominant_share(book.used(name), capacity),
            dominant_share(means.get(name, (0.0, 0.0, 0.0)), capacity),
            name in listed,
        )
        for name in sorted(book.queues)
    ]
