"""Creates, writes and stops datasets."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

from mltrainer_feature.application.ports import (
    Clock,
    Files,
    Repositories,
    UnitOfWork,
    UnitOfWorkFactory,
)
from mltrainer_feature.application.wakeup import Wakeup
from mltrainer_feature.domain.bars import Bars
from mltrainer_feature.domain.datasets import (
    Dataset,
    DatasetSpec,
    DatasetState,
    assemble_dataset,
    dataset_name,
    validated_spec,
    view_revisions,
)
from mltrainer_feature.domain.definitions import DefinitionKind
from mltrainer_feature.domain.errors import ResourceNotFoundError, UnknownSymbolError
from mltrainer_feature.domain.rows import Rows
from mltrainer_feature.domain.universes import Universe, describe_universe
from mltrainer_feature.domain.views import StoreState, resolve_views


@dataclass(frozen=True, slots=True)
class CreateDatasetHandler:
    """Returns the dataset of a specification, and has it written unless it is, or its bytes are there.

    Asking for a dataset keeps it for the grace period of its collection.
    """

    unit_of_work: UnitOfWorkFactory
    files: Files
    clock: Clock
    market_clock: Clock
    wakeup: Wakeup

    async def __call__(self, spec: DatasetSpec) -> Dataset:
        spec = validated_spec(spec, self.market_clock.now())
        async with self.unit_of_work() as uow:
            state = await uow.store.load()
            assert state is not None
            wanted = await self._name(uow, state, spec)
            existing = await uow.datasets.get(wanted.name)
            if existing is not None:
                wanted = await self._continued(existing, wanted)
            await uow.datasets.save(wanted)
            await uow.store.save(_sealed(state, spec))
            await uow.commit()
        self.wakeup.notify()
        return wanted

    async def _continued(self, existing: Dataset, wanted: Dataset) -> Dataset:
        used = replace(existing, used_time=wanted.used_time)
        if existing.state is DatasetState.CREATING:
            return used
        if existing.uri != "" and await asyncio.to_thread(self.files.exists, existing.sha256):
            return used if used.state is DatasetState.ACTIVE else used.changed(DatasetState.ACTIVE)
        return replace(wanted, revision=existing.revision + 1, create_time=existing.create_time)

    async def _name(self, uow: UnitOfWork, state: StoreState, spec: DatasetSpec) -> Dataset:
        removed = (await uow.definitions.load()).removed(DefinitionKind.STORED_VIEW)
        states = {view.name: view for view in state.views}
        views = view_revisions(resolve_views(spec.feature_views, states, removed))
        unknown = set(spec.symbols) - await uow.rows.known_symbols(spec.symbols)
        if unknown:
            raise UnknownSymbolError(sorted(unknown))
        spec = replace(spec, feature_views=tuple(f"{view.name}@{view.version}" for view in views))
        name = dataset_name(spec, views, state.layout_digest)
        now = self.clock.now()
        return Dataset(name, spec, DatasetState.CREATING, views, now, used_time=now)


def _sealed(state: StoreState, spec: DatasetSpec) -> StoreState:
    assert spec.as_of is not None
    return replace(state, sealed_time=max(spec.as_of, state.sealed_time or spec.as_of))


@dataclass(frozen=True, slots=True)
class CancelDatasetHandler:
    """Stops a dataset that is being written; a finished one stays as it is."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, name: str) -> Dataset:
        async with self.unit_of_work() as uow:
            dataset = await uow.datasets.get(name)
            if dataset is None:
                raise ResourceNotFoundError("dataset", name)
            if dataset.state is DatasetState.CREATING:
                dataset = dataset.changed(DatasetState.CANCELLED)
                await uow.datasets.save(dataset)
                await uow.commit()
        return dataset


@dataclass(frozen=True, slots=True)
class WriteNextDataset:
    """Writes the dataset that waits longest; a killed process begins it again, with the same result."""

    unit_of_work: UnitOfWorkFactory
    files: Files

    async def __call__(self) -> Dataset | None:
        """Returns the dataset in its new state; None when there was nothing to do."""
        async with self.unit_of_work.snapshot() as stored:
            dataset = await stored.datasets.next_creating()
            if dataset is None:
                return None
            if not await _views_stand(stored, dataset):
                return await self._finish(
                    dataset.changed(
                        DatasetState.FAILED, error="its views changed before it was written: create it again"
                    )
                )
            contents = await _contents(stored, dataset)
        return await self._finish(await asyncio.to_thread(self._write, dataset, contents))

    async def fail(self, error: str) -> None:
        """Gives up the dataset that waits longest, so that the next one has its turn."""
        async with self.unit_of_work.snapshot() as stored:
            dataset = await stored.datasets.next_creating()
        if dataset is not None:
            await self._finish(dataset.changed(DatasetState.FAILED, error=error))

    def _write(self, dataset: Dataset, contents: "_Contents") -> Dataset:
        table = assemble_dataset(dataset, contents.rows, contents.bars)
        sha256, uri = self.files.write_dataset(table)
        return dataset.changed(
            DatasetState.ACTIVE,
            sha256=sha256,
            uri=uri,
            row_count=table.height,
            progress=1.0,
            universe=contents.universe(dataset.spec),
        )

    async def _finish(self, dataset: Dataset) -> Dataset:
        async with self.unit_of_work() as uow:
            await uow.store.load()
            stored = await uow.datasets.get(dataset.name)
            if stored is None or stored.state is not DatasetState.CREATING:
                return stored or dataset
            # Equal bytes of a collected dataset may have been removed since these were written.
            if dataset.uri != "" and not await asyncio.to_thread(self.files.exists, dataset.sha256):
                return stored
            dataset = replace(dataset, used_time=stored.used_time)
            await uow.datasets.save(dataset)
            await uow.commit()
        return dataset


async def _views_stand(stored: Repositories, dataset: Dataset) -> bool:
    state = await stored.store.load()
    assert state is not None
    return set(dataset.view_revisions) <= set(view_revisions(state.views))


@dataclass(frozen=True, slots=True)
class _Contents:
    rows: Rows
    bars: Bars
    newest_event_time: datetime | None
    bases: dict[str, bool]

    def universe(self, spec: DatasetSpec) -> Universe:
        unadjusted = [symbol for symbol, adjusted in self.bases.items() if not adjusted]
        return describe_universe(
            spec.symbols, self.bars, (spec.start_time, self.newest_event_time), unadjusted
        )


async def _contents(stored: Repositories, dataset: Dataset) -> _Contents:
    spec = dataset.spec
    state = await stored.store.load()
    assert state is not None
    assert spec.as_of is not None
    return _Contents(
        await stored.rows.decided_rows(spec.symbols, spec.start_time, spec.as_of, state.decision_delay),
        await stored.bars.closes_of(spec.symbols, spec.as_of),
        await stored.bars.newest_event_time(spec.as_of),
        await stored.bars.price_bases(spec.symbols),
    )
