"""What the use cases need from outside."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mltrainer_models import ModelReference

from mltrainer_monitor.domain.counters import CounterReading, ServiceReading
from mltrainer_monitor.domain.drift import Window
from mltrainer_monitor.domain.objectives import BudgetBurn, Counts, Indicator, ObjectiveState
from mltrainer_monitor.domain.scores import ScoreSums
from mltrainer_monitor.domain.watched_model import DriftOnset, WatchedModel

SeriesKey = tuple[str, Indicator]


class ReferenceUnavailableError(Exception):
    """The reference of a version cannot be read now."""


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """One prediction of a call."""

    symbol: str
    event_time: datetime
    features: tuple[float, ...]
    value: float


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One answered prediction call."""

    event_id: str
    model: str
    version: int
    is_champion: bool
    predict_time: datetime
    feature_names: tuple[str, ...]
    rows: tuple[LoggedRow, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """The truth about the predictions of one model, symbol and event time."""

    event_id: str
    model: str
    symbol: str
    event_time: datetime
    value: float
    knowledge_time: datetime


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version and where its reference lies; empty where it has none."""

    event_id: str
    model: str
    number: int
    reference_digest: str


class Inbox(Protocol):
    """Port: event ids that took effect."""

    async def claim(self, event_id: str, consumer: str = "default") -> bool:
        """Tells whether the event is new."""
        ...

    async def claim_all(self, event_ids: Sequence[str], consumer: str = "default") -> set[str]:
        """Returns which events are new."""
        ...


class Outbox(Protocol):
    """Port: events to be published once the transaction has committed."""

    def add(self, event: DriftOnset | BudgetBurn, event_id: str | None = None) -> str:
        """Adds an event."""
        ...


class ModelRepository(Protocol):
    """Port: models with their versions, predictions and labels."""

    async def get(self, name: str) -> WatchedModel | None:
        """Returns a model."""
        ...

    async def changed(self) -> list[str]:
        """Names the models of which more is known than their report has seen."""
        ...

    async def touch(self, names: Collection[str]) -> None:
        """Notes that more is known about models."""
        ...

    async def save(self, model: WatchedModel) -> None:
        """Stores the report of a model; not its revision, which only `touch` moves."""
        ...

    async def add_version(self, version: NewVersion) -> None:
        """Stores a version."""
        ...

    async def add_calls(self, calls: Sequence[LoggedCall]) -> None:
        """Stores predictions: the latest of each version, symbol and event time."""
        ...

    async def add_labels(self, labels: Sequence[Label]) -> None:
        """Stores labels: the one known latest of each model, symbol and event time."""
        ...

    async def answering_version(self, model: str) -> int | None:
        """Returns the version that last answered as champion, else the last one that answered at all."""
        ...

    async def reference_digest(self, model: str, version: int) -> str:
        """Returns where the reference lies; empty where none is known."""
        ...

    async def window(self, model: str, version: int, rows: int) -> Window:
        """Returns the newest rows of a version."""
        ...

    async def score_sums(self, model: str, below: int | None, limit: int) -> list[tuple[int, ScoreSums]]:
        """Returns the sums of versions below a number, newest first."""
        ...

    async def trim(self, rows: int) -> None:
        """Forgets all but the newest predictions and labels of each model."""
        ...


class ObjectiveRepository(Protocol):
    """Port: counted calls and what was concluded from them."""

    async def readings(self) -> dict[tuple[str, str], CounterReading]:
        """Returns the last reading of each service and instance."""
        ...

    async def last_look(self) -> float | None:
        """Returns when services were last looked at."""
        ...

    async def save_look(self, look_s: float, readings: Mapping[tuple[str, str], CounterReading]) -> None:
        """Stores the newest readings and when they were taken."""
        ...

    async def add_counts(self, time_s: float, counts: Mapping[SeriesKey, Counts]) -> None:
        """Adds calls to the sample of a moment."""
        ...

    async def sums(
        self, now_s: float, windows: Collection[timedelta]
    ) -> dict[SeriesKey, dict[timedelta, Counts]]:
        """Sums the samples of windows that end now."""
        ...

    async def states(self) -> dict[str, ObjectiveState]:
        """Returns the state of each objective that ever burned."""
        ...

    async def save_state(self, name: str, state: ObjectiveState) -> None:
        """Stores the state of an objective."""
        ...

    async def compact(self, fine_after_s: float, keep_after_s: float) -> None:
        """Merges old samples into hours and forgets older ones."""
        ...


class View(Protocol):
    """One look, read-only."""

    @property
    def models(self) -> ModelRepository:
        """Models."""
        ...

    @property
    def objectives(self) -> ObjectiveRepository:
        """Objectives."""
        ...


class UnitOfWork(View, Protocol):
    """One write transaction; leaving it without `commit()` undoes it."""

    @property
    def inbox(self) -> Inbox:
        """Events that took effect."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Events to publish."""
        ...

    async def commit(self) -> None:
        """Makes everything durable at once."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens transactions and views."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a transaction."""
        ...

    def view(self) -> AbstractAsyncContextManager[View]:
        """Opens a view; it waits for no writer."""
        ...


class ReferenceStore(Protocol):
    """Port: the references of versions by digest."""

    async def read(self, digest: str) -> ModelReference:
        """Returns a reference.

        Raises:
            ReferenceUnavailableError: It cannot be read now.
        """
        ...


class ServiceScraper(Protocol):
    """Port: looks at the counters of all services."""

    async def look(self) -> list[ServiceReading]:
        """Returns one reading for every service that says it serves."""
        ...
