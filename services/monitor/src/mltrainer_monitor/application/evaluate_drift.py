"""Compares models with their references where more is known than their report has seen."""

import asyncio
from dataclasses import dataclass

from mltrainer_common.clock import Clock

from mltrainer_monitor.application.ports import ReferenceStore, UnitOfWorkFactory
from mltrainer_monitor.domain.drift import Comparison, DriftConclusion, DriftReport, compare
from mltrainer_monitor.domain.watched_model import DriftOnset, WatchedModel, conclude


@dataclass(frozen=True, slots=True)
class EvaluateDriftHandler:
    """Computes reports; an onset is stored with the report that found it."""

    unit_of_work: UnitOfWorkFactory
    references: ReferenceStore
    clock: Clock
    level: float
    window_rows: int

    async def changed(self) -> list[str]:
        """Names the models to evaluate."""
        async with self.unit_of_work.view() as view:
            return await view.models.changed()

    async def __call__(self, name: str) -> DriftOnset | None:
        """Evaluates one model.

        Raises:
            ReferenceUnavailableError: Its reference cannot be read now; the model stays to be evaluated.
        """
        async with self.unit_of_work.view() as view:
            seen = await view.models.get(name)
            version = await view.models.answering_version(name)
            if seen is None or version is None:
                return None
            digest = await view.models.reference_digest(name, version)
            window = await view.models.window(name, version, self.window_rows)
        if digest:
            reference = await self.references.read(digest)
            comparison = await asyncio.to_thread(compare, reference, window, self.level)
        else:
            comparison = Comparison(DriftConclusion.NOT_ENOUGH_DATA, window_count=len(window.event_times))
        return await self._store(seen, version, DriftReport(name, comparison, self.clock.now()))

    async def _store(self, seen: WatchedModel, version: int, report: DriftReport) -> DriftOnset | None:
        changed, onset = conclude(seen, version, report)
        async with self.unit_of_work() as uow:
            current = await uow.models.get(seen.name)
            if current is None or current.evaluated_revision != seen.evaluated_revision:
                return None
            await uow.models.save(changed)
            if onset:
                uow.outbox.add(onset)
            await uow.commit()
        return onset
