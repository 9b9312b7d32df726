"""Forgets old entries of the change log that later ones have overtaken."""

from dataclasses import dataclass
from datetime import timedelta

from mltrainer_registry.application.ports import Clock, UnitOfWorkFactory

_REVISIONS_PER_TRANSACTION = 5_000


@dataclass(frozen=True, slots=True)
class PruneChangesHandler:
    """Keeps every entry for a time, and the newest of each resource for good: a watch can begin anew."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    retention: timedelta

    async def __call__(self) -> int:
        """Returns how many entries were forgotten; writers get their turn in between."""
        before_time, forgotten = self.clock.now() - self.retention, 0
        while True:
            async with self.unit_of_work() as uow:
                pruned = await uow.changes.prune(before_time, _REVISIONS_PER_TRANSACTION)
                await uow.commit()
            if pruned is None:
                return forgotten
            forgotten += pruned
