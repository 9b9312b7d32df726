"""Has one of several schedulers plan and take leases back; the others wait for it to fall silent."""

from dataclasses import dataclass

from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory


@dataclass(frozen=True, slots=True)
class LeadHandler:
    """Takes or keeps the lead. What a leader does is safe without it: it only spares others the work."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    holder: str
    length_s: float

    async def __call__(self) -> bool:
        """Tells whether this process leads from now on."""
        async with self.unit_of_work() as uow:
            leads = await uow.planning.lead(self.holder, self.clock.now(), self.length_s)
            await uow.commit()
        return leads
