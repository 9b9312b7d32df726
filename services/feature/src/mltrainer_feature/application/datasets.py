"""Creates, writes and stops datasets."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import polars as pl
from mltrainer_features import OnDemandFeature, with_computed

from mltrainer_feature.application.ports import (
    Clock,
    DatasetFile,
    Files,
    Repositories,
    UnitOfWork,
    UnitOfWorkFactory,
)
from mltrainer_feature.application.wakeup import Wakeup
from mltrainer_feature.domain.bars import Bars
from mltrainer_feature.domain.dataset_features import (
    FeatureCatalogue,
    computed_features,
    on_demand_revision,
    on_demand_views,
)
from mltrainer_feature.domain.datasets import (
    Dataset,
    DatasetSpec,
    DatasetState,
    assemble_part,
    dataset_labels,
    dataset_name,
    partition,
    validated_spec,
    view_revisions,
)
from mltrainer_feature.domain.errors import ResourceNotFoundError, UnknownSymbolError
from mltrainer_feature.domain.rows import EventRange
from mltrainer_feature.domain.universes import Universe, describe_universe
from mltrainer_feature.domain.views import StoreState

# A row takes 350 bytes with all features, several times while it is joined and written.
PART_ROWS = 60_000


@dataclass(frozen=True, slots=True)
class CreateDatasetHandler:
    """Returns the dataset of a specification, and has it written unless it is, or its bytes are there.

    Asking for a dataset keeps it for the grace period of its collection. `services` are the feature services
    of this release, by name, with the features they read.
    """

    unit_of_work: UnitOfWorkFactory
    files: Files
    clock: Clock
    market_clock: Clock
    wakeup: Wakeup
    services: Mapping[str, Sequence[str]] = field(default_factory=dict)

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
        catalogue = FeatureCatalogue.of(state.views, await uow.definitions.load(), self.services)
        columns = catalogue.columns(spec.feature_views)
        unknown = set(spec.symbols) - await uow.rows.known_symbols(spec.symbols)
        if unknown:
            raise UnknownSymbolError(sorted(unknown))
        spec = replace(spec, feature_views=columns.asked, features=columns.features)
        name = dataset_name(spec, columns.views, state.layout_digest)
        now = self.clock.now()
        return Dataset(name, spec, DatasetState.CREATING, columns.views, now, used_time=now)


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
    """Writes the dataset that waits longest, part by part.

    A killed process begins it again, with the same result. At most `part_rows` rows are held in memory, more
    only where a single event time has more; closes and labels of the whole span are held beside them.
    """

    unit_of_work: UnitOfWorkFactory
    files: Files
    part_rows: int = PART_ROWS

    async def __call__(self) -> Dataset | None:
        """Returns the dataset in its new state; None when there was nothing to do."""
        async with self.unit_of_work.snapshot() as stored:
            dataset = await stored.datasets.next_creating()
            if dataset is None:
                return None
            if await _views_stand(stored, dataset):
                written = await self._write(stored, dataset)
            else:
                error = "its views changed before it was written: create it again"
                written = dataset.changed(DatasetState.FAILED, error=error)
        return dataset.changed(DatasetState.CANCELLED) if written is None else await self._finish(written)

    async def fail(self, error: str) -> None:
        """Gives up the dataset that waits longest, so that the next one has its turn."""
        async with self.unit_of_work.snapshot() as stored:
            dataset = await stored.datasets.next_creating()
        if dataset is not None:
            await self._finish(dataset.changed(DatasetState.FAILED, error=error))

    async def _write(self, stored: Repositories, dataset: Dataset) -> Dataset | None:
        file = await asyncio.to_thread(self.files.begin_dataset)
        try:
            return await self._write_parts(await _Contents.read(stored, dataset.spec), file, dataset)
        finally:
            await asyncio.to_thread(file.close)

    async def _write_parts(
        self, contents: "_Contents", file: DatasetFile, dataset: Dataset
    ) -> Dataset | None:
        parts = await contents.parts(self.part_rows)
        row_count = 0
        for number, part in enumerate(parts, start=1):
            table = await contents.table(part, dataset.feature_names)
            await asyncio.to_thread(file.add, table)
            row_count += table.height
            if number < len(parts):
                advanced = await self._advance(dataset.name, number / len(parts))
                if advanced is None:
                    return None
                dataset = advanced
        sha256, uri = await asyncio.to_thread(file.finish)
        return dataset.changed(
            DatasetState.ACTIVE,
            sha256=sha256,
            uri=uri,
            row_count=row_count,
            progress=1.0,
            universe=contents.universe(),
        )

    async def _advance(self, name: str, progress: float) -> Dataset | None:
        async with self.unit_of_work() as uow:
            stored = await uow.datasets.get(name)
            if stored is None or stored.state is not DatasetState.CREATING:
                return None
            advanced = stored.changed(DatasetState.CREATING, progress=progress)
            await uow.datasets.save(advanced)
            await uow.commit()
        return advanced

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
    computed = on_demand_views(await stored.definitions.load()).values()
    standing = {*view_revisions(state.views), *map(on_demand_revision, computed)}
    return standing.issuperset(dataset.view_revisions)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a dataset is made of: bars and labels in memory, rows range by range."""

    stored: Repositories
    spec: DatasetSpec
    as_of: datetime
    decision_delay: timedelta
    bars: Bars
    labels: pl.DataFrame
    newest_event_time: datetime | None
    bases: dict[str, bool]
    computed: Sequence[OnDemandFeature]

    @classmethod
    async def read(cls, stored: Repositories, spec: DatasetSpec) -> "_Contents":
        state = await stored.store.load()
        assert state is not None
        assert spec.as_of is not None
        bars = await stored.bars.closes_of(spec.symbols, spec.as_of)
        return cls(
            stored,
            spec,
            spec.as_of,
            state.decision_delay,
            bars,
            await asyncio.to_thread(dataset_labels, spec, bars),
            await stored.bars.newest_event_time(spec.as_of),
            await stored.bars.price_bases(spec.symbols),
            await _computed(stored, spec),
        )

    async def parts(self, max_rows: int) -> list[EventRange]:
        counts = await self.stored.rows.decided_counts(self.spec.start_time, self.as_of, self.decision_delay)
        return partition(counts, max_rows) or [EventRange(self.as_of, self.as_of)]

    async def table(self, part: EventRange, names: Sequence[str]) -> pl.DataFrame:
        rows = await self.stored.rows.decided_rows(self.spec.symbols, part, self.as_of, self.decision_delay)
        rows = await asyncio.to_thread(with_computed, rows, self.computed)
        return await asyncio.to_thread(assemble_part, names, rows, self.labels)

    def universe(self) -> Universe:
        unadjusted = [symbol for symbol, adjusted in self.bases.items() if not adjusted]
        span = (self.spec.start_time, self.newest_event_time)
        return describe_universe(self.spec.symbols, self.bars, span, unadjusted)


async def _computed(stored: Repositories, spec: DatasetSpec) -> list[OnDemandFeature]:
    computed = computed_features(await stored.definitions.load())
    return [computed[reference] for reference in spec.features if reference in computed]
