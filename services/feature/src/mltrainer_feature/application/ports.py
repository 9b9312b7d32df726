"""What the use cases need from outside."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mltrainer_feature.application.definition_ports import DefinitionRepository
from mltrainer_feature.application.online_plans import KeyGroup
from mltrainer_feature.domain.bars import Bars, KeptRefusal, Refusal
from mltrainer_feature.domain.datasets import Dataset
from mltrainer_feature.domain.imports import BarImport
from mltrainer_feature.domain.online import Cell
from mltrainer_feature.domain.rows import EventRange, RowMatrix, Rows
from mltrainer_feature.domain.views import FeaturesMaterialized, StoreState, ViewRevised

DomainEvent = FeaturesMaterialized | ViewRevised


class Clock(Protocol):
    """Tells an aware UTC time."""

    def now(self) -> datetime:
        """Returns the current time."""
        ...


class Inbox(Protocol):
    """Remembers which events have taken effect."""

    async def claim_all(self, event_ids: Sequence[str], consumer: str = "default") -> set[str]:
        """Returns which of the ids are new, and remembers all of them."""
        ...


class Outbox(Protocol):
    """Collects events that are published after the commit."""

    def add(self, event: DomainEvent) -> str:
        """Adds an event and returns its id."""
        ...


@dataclass(frozen=True, slots=True)
class AffectedRange:
    """Rows that new bars may change, and how far back the bars reach that decide them."""

    rows: EventRange
    look_back_since: datetime


class BarRepository(Protocol):
    """Keeps every bar as it was known."""

    async def known(self, bars: Bars) -> Bars:
        """Returns stored bars, among them all with the symbol and event time of a given bar."""
        ...

    async def add(self, bars: Bars) -> None:
        """Stores bars whose keys are new."""
        ...

    async def quarantine(self, refusals: Sequence[Refusal], source: str, now: datetime) -> None:
        """Keeps refused bars with their reasons."""
        ...

    async def refused(
        self, before: int | None, limit: int, symbol: str = "", reason: str = ""
    ) -> list[KeptRefusal]:
        """Returns refused bars, newest first, below a number; of one symbol and reason where given."""
        ...

    async def refused_by_number(self, numbers: Sequence[int]) -> list[KeptRefusal]:
        """Returns those refused bars of the numbers that are kept."""
        ...

    async def forget_refused(self, numbers: Sequence[int]) -> None:
        """Takes refused bars from the list."""
        ...

    async def price_bases(self, symbols: Sequence[str]) -> dict[str, bool]:
        """Tells of those of the symbols that have bars whether their prices are adjusted."""
        ...

    async def add_price_bases(self, bases: Mapping[str, bool]) -> None:
        """Notes of symbols without bars whether their prices are adjusted, for good."""
        ...

    async def newest_event_time(self, as_of: datetime) -> datetime | None:
        """Returns the event time of the newest bar that was known at a time."""
        ...

    async def affected_range(self, bars: Bars) -> AffectedRange:
        """Finds the rows that stored bars may change through windows of any length."""
        ...

    async def whole_range(self) -> AffectedRange | None:
        """Returns the range of all bars; None where there is none."""
        ...

    async def closes(self, since: datetime, until: datetime) -> Bars:
        """Returns keys and closes of the bars in a range of event times."""
        ...

    async def closes_of(self, symbols: Sequence[str], as_of: datetime) -> Bars:
        """Returns keys and closes of the bars of symbols that were known at a time."""
        ...


@dataclass(frozen=True, slots=True)
class RowStatistics:
    """How many rows are stored and how new they are."""

    row_count: int
    latest_event_time: datetime | None


class RowRepository(Protocol):
    """Keeps feature rows, offline and online."""

    async def replace(self, wanted: EventRange, rows: RowMatrix) -> None:
        """Makes these the only rows of a range of event times."""
        ...

    async def clear(self) -> None:
        """Forgets every row, offline and online."""
        ...

    async def publish_online(self, rows: RowMatrix, log_revision: int) -> None:
        """Makes rows readable online unless a newer one is: by event time, then created time."""
        ...

    async def online_rows(self, after_log_revision: int) -> tuple[RowMatrix, int]:
        """Returns the online rows written after a revision, and the revision reached."""
        ...

    async def known_symbols(self, symbols: Sequence[str]) -> set[str]:
        """Returns those of the symbols that have a row."""
        ...

    async def decided_counts(
        self, start: datetime | None, as_of: datetime, decision_delay: timedelta
    ) -> list[tuple[datetime, int]]:
        """Counts the decided rows of all symbols that were known at a time, by event time, in order."""
        ...

    async def decided_rows(
        self, symbols: Sequence[str], wanted: EventRange, as_of: datetime, decision_delay: timedelta
    ) -> Rows:
        """Returns the decided rows of symbols in a range of event times that were known at a time."""
        ...

    async def rows_known_at(
        self, symbol: str, start: datetime | None, after: datetime | None, as_of: datetime, limit: int
    ) -> Rows:
        """Returns rows of a symbol as known at a time, in the order of event time, at most `limit`."""
        ...

    async def statistics(self) -> RowStatistics:
        """Counts the stored rows."""
        ...


class StoreRepository(Protocol):
    """Keeps the aggregate that every write of rows locks."""

    async def load(self) -> StoreState | None:
        """Returns the state, locked in a write transaction; None before the first start."""
        ...

    async def save(self, state: StoreState) -> None:
        """Stores the state."""
        ...


class DatasetRepository(Protocol):
    """Keeps datasets."""

    async def get(self, name: str) -> Dataset | None:
        """Returns a dataset."""
        ...

    async def save(self, dataset: Dataset) -> None:
        """Stores a dataset, new or changed."""
        ...

    async def page(self, before: int | None, limit: int) -> list[tuple[int, Dataset]]:
        """Returns datasets, newest first, each with its place in the list."""
        ...

    async def next_creating(self) -> Dataset | None:
        """Returns the dataset that waits longest to be written."""
        ...

    async def idle(self, before: datetime) -> list[Dataset]:
        """Returns the active datasets that were last asked for before a time, oldest first."""
        ...

    async def leftover(self) -> list[Dataset]:
        """Returns the collected datasets whose bytes may still be there."""
        ...

    async def shares_bytes(self, sha256: str) -> bool:
        """Tells whether an active dataset has these bytes."""
        ...


class DatasetReferences(Protocol):
    """Knows who refers to datasets."""

    async def in_use_since(self, ended_after: datetime) -> datetime | None:
        """Returns since when attempts run that run still or ended after a time; None where there are none.

        Raises:
            ReferencesUnknownError: Nobody can tell now.
        """
        ...

    async def has_models(self, name: str) -> bool:
        """Tells whether a model version was made of a dataset.

        Raises:
            ReferencesUnknownError: Nobody can tell now.
        """
        ...


class ImportRepository(Protocol):
    """Keeps bulk loads."""

    async def get(self, name: str) -> BarImport | None:
        """Returns a bulk load."""
        ...

    async def save(self, bar_import: BarImport) -> None:
        """Stores a bulk load, new or changed."""
        ...

    async def next_running(self) -> BarImport | None:
        """Returns the bulk load that runs longest."""
        ...


class Repositories(Protocol):
    """Everything stored, seen at one moment."""

    @property
    def bars(self) -> BarRepository:
        """Returns the bars."""
        ...

    @property
    def rows(self) -> RowRepository:
        """Returns the feature rows."""
        ...

    @property
    def store(self) -> StoreRepository:
        """Returns the state of the store."""
        ...

    @property
    def datasets(self) -> DatasetRepository:
        """Returns the datasets."""
        ...

    @property
    def imports(self) -> ImportRepository:
        """Returns the bulk loads."""
        ...

    @property
    def definitions(self) -> DefinitionRepository:
        """Returns the definitions."""
        ...


class UnitOfWork(Repositories, Protocol):
    """One write transaction; leaving it without `commit` undoes everything."""

    @property
    def inbox(self) -> Inbox:
        """Returns the inbox."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Returns the outbox."""
        ...

    async def commit(self) -> None:
        """Commits state, inbox and outbox together."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens transactions."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a write transaction."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Repositories]:
        """Opens a read-only view of one moment."""
        ...


class DatasetFile(Protocol):
    """A dataset while it is written, part by part; nothing is visible before `finish`. Methods block."""

    def add(self, part: Rows) -> None:
        """Appends rows; they are held in memory no longer."""
        ...

    def finish(self) -> tuple[str, str]:
        """Stores the file durably and returns its digest and URI."""
        ...

    def close(self) -> None:
        """Drops what was not finished."""
        ...


class Files(Protocol):
    """Reads files of bars from the artifact store and writes datasets to it; methods block."""

    def exists(self, sha256: str) -> bool:
        """Tells whether there is anything under a digest."""
        ...

    def read_history(self, sha256: str) -> Bars:
        """Reads a file of bars.

        Raises:
            UnreadableBarsError: The bytes are no such file.
        """
        ...

    def begin_dataset(self) -> DatasetFile:
        """Begins a dataset; whoever begins it closes it."""
        ...

    def size_bytes(self, sha256: str) -> int:
        """Returns how many bytes lie under a digest; 0 where there are none."""
        ...

    def delete(self, sha256: str) -> None:
        """Removes what lies under a digest, if anything does."""
        ...


class OnlineRows(Protocol):
    """Makes committed rows readable online."""

    async def refresh(self) -> None:
        """Takes over what has been committed since."""
        ...

    async def take(self, rows: RowMatrix, log_revision: int) -> None:
        """Takes over rows that were committed as a revision, and what else has been committed since."""
        ...


class OnlineStore(Protocol):
    """Answers online reads: the newest row of each entity, field by field."""

    async def read(
        self, groups: Sequence[KeyGroup], keys: Sequence[Sequence[bytes]]
    ) -> list[list[Sequence[Cell]]]:
        """Returns for each group, and there for each key, the cells of the group's fields.

        Raises:
            OnlineStoreError: The store is away, or has lost its content.
        """
        ...
