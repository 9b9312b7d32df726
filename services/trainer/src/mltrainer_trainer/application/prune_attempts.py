"""Frees the machine or the cluster of what ended long ago."""

from dataclasses import dataclass
from datetime import timedelta

from mltrainer_trainer.application.ports import AttemptQueries, Clock, ExecutionBackend, UnitOfWorkFactory

_BATCH = 200


@dataclass(frozen=True, slots=True)
class PruneAttemptsHandler:
    """Removes what ended attempts have left; their rows stay."""

    unit_of_work: UnitOfWorkFactory
    queries: AttemptQueries
    backend: ExecutionBackend
    clock: Clock
    keep: timedelta

    async def __call__(self) -> int:
        """Returns of how many it was removed."""
        before = self.clock.now() - self.keep
        ended = await self.queries.ended_before(before, _BATCH)
        for attempt in ended:
            await self.backend.discard(attempt)
        async with self.unit_of_work() as uow:
            await uow.attempts.mark_discarded([attempt.name for attempt in ended])
            # Events are replayed for days at most; what was taken back earlier cannot be placed any more.
            long_ago = self.clock.now() - timedelta(days=14)
            await uow.attempts.forget_revoked(long_ago)
            await uow.steps.forget_before(long_ago)
            await uow.commit()
        return len(ended)
