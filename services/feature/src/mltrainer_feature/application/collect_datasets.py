"""Removes the bytes of datasets that nobody refers to."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from mltrainer_feature.application.ports import Clock, DatasetReferences, Files, UnitOfWorkFactory
from mltrainer_feature.domain.datasets import Dataset, DatasetState
from mltrainer_feature.domain.errors import InvalidRequestError, ReferencesUnknownError, Violation

# Clocks of machines may differ so much, and a version may come so long after the end of its attempt.
_MARGIN = timedelta(hours=1)
_SHOWN = 1_000


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What a collection has found, and removed unless it was only to look."""

    idle_count: int = 0
    referenced_count: int = 0
    collected_count: int = 0
    collected_bytes: int = 0
    names: tuple[str, ...] = ()

    def with_collected(self, dataset: Dataset, size_bytes: int) -> "CollectionReport":
        """Adds a dataset."""
        return replace(
            self,
            collected_count=self.collected_count + 1,
            collected_bytes=self.collected_bytes + size_bytes,
            names=(*self.names, dataset.name)[:_SHOWN],
        )


class CollectionObserver(Protocol):
    """Counts what collections do, whoever asked for them."""

    def dataset_collected(self, size_bytes: int) -> None:
        """Counts a dataset that was given up, with its bytes."""
        ...

    def collection_stopped(self) -> None:
        """Counts a collection that stopped because a service did not say what it refers to."""
        ...


@dataclass(frozen=True, slots=True)
class CollectDatasetsHandler:
    """Collects datasets in two steps: first the record says so, then the bytes go.

    A dataset stays while an attempt runs that may have asked for it, while a model version was made of it,
    and for a grace period after it was last asked for. Whoever asks between the steps gets it back. Bytes go
    inside a write transaction that has just seen that no active dataset has them, and whoever makes a
    dataset active looks in his own whether they are there: writers take turns.
    """

    unit_of_work: UnitOfWorkFactory
    files: Files
    references: DatasetReferences
    clock: Clock
    grace: timedelta
    least_grace: timedelta
    observer: CollectionObserver

    async def __call__(self, *, dry_run: bool, grace: timedelta | None = None) -> CollectionReport:
        """Returns what was found.

        Raises:
            InvalidRequestError: The grace period is below its lower limit.
            ReferencesUnknownError: Somebody does not say what he refers to; nothing more was removed.
        """
        try:
            return await self._collect(dry_run=dry_run, grace=grace)
        except ReferencesUnknownError:
            self.observer.collection_stopped()
            raise

    async def _collect(self, *, dry_run: bool, grace: timedelta | None) -> CollectionReport:
        before = await self._latest_use(self.grace if grace is None else grace)
        async with self.unit_of_work.snapshot() as stored:
            idle = await stored.datasets.idle(before)
        report = CollectionReport(idle_count=len(idle))
        for dataset in idle:
            if await self.references.has_models(dataset.name):
                report = replace(report, referenced_count=report.referenced_count + 1)
            elif dry_run or await self._mark(dataset.name, before):
                size_bytes = await asyncio.to_thread(self.files.size_bytes, dataset.sha256)
                report = report.with_collected(dataset, size_bytes)
                if not dry_run:
                    self.observer.dataset_collected(size_bytes)
        if not dry_run:
            await self._remove_leftover()
        return report

    async def _latest_use(self, grace: timedelta) -> datetime:
        if grace < self.least_grace:
            limit_s = self.least_grace.total_seconds()
            raise InvalidRequestError([Violation("grace", f"must be {limit_s:g} s or longer")])
        now = self.clock.now()
        in_use_since = await self.references.in_use_since(now - _MARGIN)
        return min(now - grace, (in_use_since or now) - _MARGIN)

    async def _mark(self, name: str, before: datetime) -> bool:
        async with self.unit_of_work() as uow:
            await uow.store.load()
            dataset = await uow.datasets.get(name)
            if dataset is None or dataset.state is not DatasetState.ACTIVE:
                return False
            if dataset.used_time is None or dataset.used_time >= before:
                return False
            await uow.datasets.save(dataset.changed(DatasetState.COLLECTED))
            await uow.commit()
        return True

    async def _remove_leftover(self) -> None:
        async with self.unit_of_work.snapshot() as stored:
            leftover = await stored.datasets.leftover()
        for marked in leftover:
            await self._remove(marked.name)

    async def _remove(self, name: str) -> None:
        async with self.unit_of_work() as uow:
            await uow.store.load()
            dataset = await uow.datasets.get(name)
            if dataset is None or dataset.state is not DatasetState.COLLECTED:
                return
            if not await uow.datasets.shares_bytes(dataset.sha256):
                await asyncio.to_thread(self.files.delete, dataset.sha256)
            await uow.datasets.save(dataset.changed(DatasetState.COLLECTED, uri=""))
            await uow.commit()
