"""Tells the scheduler what is executed here and what the node offers."""

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
class ReportNodeHandler:
    """Publishes the capacity of the node."""

    unit_of_work: UnitOfWorkFactory
    probe: NodeProbe

    async def __call__(self) -> None:
        """Measures and publishes."""
        report = self.probe.report()
        async with self.unit_of_work() as uow:
            uow.outbox.add(report)
            await uow.commit()
