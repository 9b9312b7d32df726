"""Tells the scheduler what is executed here and what the nodes offer."""

from dataclasses import dataclass

from mltrainer_trainer.application.ports import NodeProbe, UnitOfWorkFactory
from mltrainer_trainer.domain.release import Release


@dataclass(frozen=True, slots=True)
class AnnounceReleaseHandler:
    """Publishes the release of this trainer."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, release: Release) -> None:
        """Publishes it through the outbox."""
        async with self.unit_of_work() as uow:
            uow.outbox.add(release)
            await uow.commit()


@dataclass(frozen=True, slots=True)
class ReportNodesHandler:
    """Publishes the capacity of the nodes."""

    unit_of_work: UnitOfWorkFactory
    probe: NodeProbe

    async def __call__(self) -> None:
        """Measures and publishes."""
        reports = await self.probe.reports()
        if not reports:
            return
        async with self.unit_of_work() as uow:
            for report in reports:
                uow.outbox.add(report)
            await uow.commit()
