"""Remembers how far attempts are, for explanations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mltrainer_scheduler.application.ports import UnitOfWorkFactory


@dataclass(frozen=True, slots=True)
class AttemptProgress:
    """How far an attempt is."""

    allocation: str
    fencing_token: int
    revision: int
    stage: str
    progress: float = 0.0


@dataclass(frozen=True, slots=True)
class RecordProgressHandler:
    """Keeps the newest report of each allocation; older ones and stale tokens are dropped."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, reports: Sequence[AttemptProgress]) -> int:
        """Returns how many allocations got news."""
        newest: dict[str, AttemptProgress] = {}
        for report in sorted(reports, key=lambda report: report.revision):
            newest[report.allocation] = report
        async with self.unit_of_work() as uow:
            updated = [
                replace(
                    allocation,
                    stage=report.stage,
                    progress=report.progress,
                    progress_revision=report.revision,
                )
                for allocation in await uow.cluster.living(newest.keys())
                if (report := newest[allocation.name]).fencing_token == allocation.fencing_token
                and report.revision > allocation.progress_revision
            ]
            await uow.cluster.update(updated)
            await uow.commit()
        return len(updated)
