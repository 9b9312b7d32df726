"""Measures what attempts use, for the bill."""

from dataclasses import dataclass

from mltrainer_trainer.application.change_attempt import save_change
from mltrainer_trainer.application.ports import AttemptQueries, ExecutionBackend, UnitOfWorkFactory
from mltrainer_trainer.domain.attempt import AttemptState, Usage, sample


@dataclass(frozen=True, slots=True)
class SampleUsageHandler:
    """Samples every executing attempt in one transaction."""

    unit_of_work: UnitOfWorkFactory
    queries: AttemptQueries
    backend: ExecutionBackend

    async def __call__(self) -> int:
        """Returns how many samples were taken."""
        usages = await self._measure()
        if not usages:
            return 0
        async with self.unit_of_work() as uow:
            for name, usage in usages.items():
                attempt = await uow.attempts.get(name)
                if attempt is not None:
                    await save_change(uow, sample(attempt, usage))
            await uow.commit()
        return len(usages)

    async def _measure(self) -> dict[str, Usage]:
        attempts = await self.queries.live()
        usages = {}
        for attempt in attempts:
            if attempt.state is AttemptState.EXECUTING and attempt.execution_id is not None:
                usage = await self.backend.measure(attempt)
                if usage is not None:
                    usages[attempt.name] = usage
        return usages
