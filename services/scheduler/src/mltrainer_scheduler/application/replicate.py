"""Keeps copies of what trainers and feature announce; an older revision changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory
from mltrainer_scheduler.domain.catalogue import TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.cluster import NodeReport


@dataclass(frozen=True, slots=True)
class ReplicateHandler:
    """Stores announcements."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def nodes(self, reports: Sequence[NodeReport]) -> bool:
        """Stores the newest report of each node and tells whether any was news.

        A report counts as heard when it was measured, so that a backlog revives nobody, never later than now.
        """
        now = self.clock.now()
        newest = {report.name: report for report in sorted(reports, key=lambda report: report.revision)}
        async with self.unit_of_work() as uow:
            news = [
                await uow.cluster.report(replace(report, seen_time=min(report.seen_time, now)))
                for report in newest.values()
            ]
            await uow.commit()
        return any(news)

    async def release(self, release: TrainerRelease) -> bool:
        """Stores what a trainer executes and tells whether it was news."""
        async with self.unit_of_work() as uow:
            is_news = await uow.knowledge.store_release(release, self.clock.now())
            await uow.commit()
        return is_news

    async def views(self, views: Sequence[ViewVersion]) -> bool:
        """Stores view versions and tells whether any was news."""
        async with self.unit_of_work() as uow:
            news = [await uow.knowledge.store_view(view) for view in views]
            await uow.commit()
        return any(news)
