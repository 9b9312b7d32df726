"""Remembers how far attempts are, for explanations, and until when their work is safe, for plans."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory
from mltrainer_scheduler.domain.saved_work import later_checkpoint
from mltrainer_scheduler.domain.training import Allocation


@dataclass(frozen=True, slots=True)
class AttemptProgress:
    """How far an attempt is."""

    allocation: str
    fencing_token: int
    revision: int
    stage: str
    progress: float = 0.0
    checkpoint_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordProgressHandler:
    """Keeps the newest report of each allocation; older ones and stale tokens are dropped."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, reports: Sequence[AttemptProgress]) -> int:
        """Returns how many allocations got news."""
        newest: dict[str, AttemptProgress] = {}
        for report in sorted(reports, key=lambda report: report.revision):
            newest[report.allocation] = report
        now = self.clock.now()
        async with self.unit_of_work() as uow:
            updated = [
                _further(allocation, report, now)
                for allocation in await uow.cluster.living(newest.keys())
                if (report := newest[allocation.name]).fencing_token == allocation.fencing_token
                and report.revision > allocation.progress_revision
            ]
            await uow.cluster.update(updated)
            await uow.commit()
        return len(updated)


def _further(allocation: Allocation, report: AttemptProgress, now: datetime) -> Allocation:
    checkpoint_time = later_checkpoint(allocation, report.checkpoint_time, now)
    is_news = checkpoint_time != allocation.checkpoint_time
    return replace(
        allocation,
        stage=report.stage,
        progress=report.progress,
        progress_revision=report.revision,
        checkpoint_time=checkpoint_time,
        checkpoint_heard_time=now if is_news else allocation.checkpoint_heard_time,
    )
