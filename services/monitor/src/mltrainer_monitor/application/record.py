"""Takes in what other services tell: versions, predictions, labels."""

from collections.abc import Sequence
from dataclasses import dataclass

from mltrainer_monitor.application.ports import Label, LoggedCall, NewVersion, UnitOfWorkFactory


@dataclass(frozen=True, slots=True)
class RecordVersionHandler:
    """Remembers a version and its reference."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, version: NewVersion) -> None:
        """Records one version."""
        async with self.unit_of_work() as uow:
            if not await uow.inbox.claim(version.event_id):
                return
            await uow.models.add_version(version)
            await uow.models.touch({version.model})
            await uow.commit()


@dataclass(frozen=True, slots=True)
class RecordPredictionsHandler:
    """Remembers what models saw and answered."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, calls: Sequence[LoggedCall]) -> None:
        """Records a batch."""
        async with self.unit_of_work() as uow:
            new = await uow.inbox.claim_all([call.event_id for call in calls])
            fresh = [call for call in calls if call.event_id in new]
            await uow.models.add_calls(fresh)
            await uow.models.touch({call.model for call in fresh})
            await uow.commit()


@dataclass(frozen=True, slots=True)
class RecordLabelsHandler:
    """Remembers the truth about predictions, made already or not."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, labels: Sequence[Label]) -> None:
        """Records a batch."""
        async with self.unit_of_work() as uow:
            new = await uow.inbox.claim_all([label.event_id for label in labels])
            await uow.models.add_labels([label for label in labels if label.event_id in new])
            await uow.commit()
