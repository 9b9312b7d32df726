"""Datasets of a small market over a real database, without calls and events."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from mltrainer_common.content_store import ContentStore
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_feature.adapters.files import StoredFiles
from mltrainer_feature.adapters.online_rows import CachedOnlineRows, RowLayout
from mltrainer_feature.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_feature.application.collect_datasets import CollectDatasetsHandler
from mltrainer_feature.application.datasets import CreateDatasetHandler, WriteNextDataset
from mltrainer_feature.application.open_store import OpenStoreHandler
from mltrainer_feature.application.record_bars import ReceivedBars, RecordBarsHandler
from mltrainer_feature.application.wakeup import Wakeup
from mltrainer_feature.domain.datasets import Dataset, DatasetSpec, DatasetState
from mltrainer_feature.domain.errors import ReferencesUnknownError
from mltrainer_feature.wire.events import to_message
from mltrainer_feature.wire.feast_registry import REGISTRY_FILE, read_schema
from mltrainer_features import TargetKind
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock

from .quotes import day, market, to_bars

START = day(1_000)
GRACE = timedelta(days=30)
LAYOUT = RowLayout(read_schema(REGISTRY_FILE.read_bytes()))


@dataclass(slots=True)
class FakeReferences:
    """Says what it was told."""

    running_since: datetime | None = None
    with_models: set[str] = field(default_factory=set)
    is_away: bool = False

    async def in_use_since(self, ended_after: datetime) -> datetime | None:
        del ended_after
        return self.running_since

    async def has_models(self, name: str) -> bool:
        if self.is_away:
            raise ReferencesUnknownError("registry")
        return name in self.with_models


@dataclass(slots=True)
class CountedCollections:
    """Remembers what collections did."""

    sizes_bytes: list[int] = field(default_factory=list)
    stopped_count: int = 0

    def dataset_collected(self, size_bytes: int) -> None:
        self.sizes_bytes.append(size_bytes)

    def collection_stopped(self) -> None:
        self.stopped_count += 1


@dataclass(slots=True)
class Datasets:
    """Datasets of a small market, without calls and events."""

    unit_of_work: SqlUnitOfWorkFactory
    files: StoredFiles
    references: FakeReferences = field(default_factory=FakeReferences)
    counted: CountedCollections = field(default_factory=CountedCollections)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))

    async def ask(self, as_of: int = 15) -> Dataset:
        create = CreateDatasetHandler(self.unit_of_work, self.files, self.clock, self.clock, Wakeup())
        views = ("market_returns",)
        spec = DatasetSpec(("S0",), views, day(as_of), TargetKind.LOG_REALIZED_VARIANCE, 5)
        return await create(spec)

    async def write(self) -> Dataset:
        written = await WriteNextDataset(self.unit_of_work, self.files)()
        assert written is not None
        return written

    async def created(self, as_of: int = 15) -> Dataset:
        await self.ask(as_of)
        return await self.write()

    async def get(self, name: str) -> Dataset:
        async with self.unit_of_work.snapshot() as stored:
            found = await stored.datasets.get(name)
        assert found is not None
        return found

    async def forget(self, dataset: Dataset) -> None:
        """Makes a dataset one that has never been written."""
        async with self.unit_of_work() as uow:
            await uow.datasets.save(replace(dataset, state=DatasetState.FAILED, uri="", progress=0.0))
            await uow.commit()
        self.files.delete(dataset.sha256)

    @property
    def collect(self) -> CollectDatasetsHandler:
        return self.collect_with(self.files)

    def collect_with(self, files: StoredFiles) -> CollectDatasetsHandler:
        least = timedelta(hours=1)
        return CollectDatasetsHandler(
            self.unit_of_work, files, self.references, self.clock, GRACE, least, self.counted
        )


@asynccontextmanager
async def open_datasets(database_url: str, directory: Path) -> AsyncIterator[Datasets]:
    """Opens a store with bars of twenty days of two symbols."""
    await migrate(database_url, "mltrainer_feature.adapters.migrations")
    async with open_database(database_url) as database:
        transactions = EventTransactions(database, "feature", OutboxSignal(), encode=to_message)
        unit_of_work = SqlUnitOfWorkFactory(transactions, database)
        online = CachedOnlineRows(unit_of_work, LAYOUT)
        await OpenStoreHandler(unit_of_work, online, timedelta(hours=12))()
        quotes = market(2, 20)
        ids = tuple(str(place) for place in range(len(quotes)))
        await RecordBarsHandler(unit_of_work, online, ManualClock(START))(ReceivedBars(ids, to_bars(quotes)))
        files = StoredFiles(ContentStore(str(directory / "artifacts")), timedelta(hours=21), 1 << 20)
        yield Datasets(unit_of_work, files)
