"""Answers questions about views, rows, datasets and imports."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from mltrainer_features import VIEWS, FeatureView

from mltrainer_feature.application.ports import Clock, RowStatistics, UnitOfWorkFactory
from mltrainer_feature.domain.datasets import Dataset
from mltrainer_feature.domain.definitions import DefinitionKind
from mltrainer_feature.domain.errors import (
    FeatureServiceError,
    FeatureViewRemovedError,
    InvalidRequestError,
    ResourceNotFoundError,
    Violation,
)
from mltrainer_feature.domain.imports import BarImport
from mltrainer_feature.domain.rows import Rows
from mltrainer_feature.domain.views import ViewState

MAX_PAGE = 1_000
DEFAULT_PAGE = 100
MAX_AGE = timedelta(days=5)
"""Objective of every view's age, and what the compiled Feast registry declares (a test compares)."""
_BAD_TOKEN = Violation("page_token", "give the next_page_token of the page before")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is asked for."""

    size: int = 0
    token: str = ""

    def limit(self) -> int:
        """Returns how many entries to give.

        Raises:
            InvalidRequestError: The size is out of range.
        """
        if not 0 <= self.size <= MAX_PAGE:
            raise InvalidRequestError([Violation("page_size", f"must lie between 1 and {MAX_PAGE}")])
        return self.size or DEFAULT_PAGE

    def place(self) -> int | None:
        """Returns the number in the token; None on the first page.

        Raises:
            InvalidRequestError: The token was not given by a page before.
        """
        if not self.token:
            return None
        if not self.token.isascii() or not self.token.lstrip("-").isdigit() or len(self.token) > 19:
            raise InvalidRequestError(
                [Violation("page_token", "give the next_page_token of the page before")]
            )
        return int(self.token)


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """A part of a list; the token is empty on the last one."""

    items: list[_T]
    next_token: str


@dataclass(frozen=True, slots=True)
class DescribedView:
    """A view: what defines it, what state it is in and what is stored."""

    definition: FeatureView
    state: ViewState
    statistics: RowStatistics
    now: datetime


@dataclass(frozen=True, slots=True)
class RowsQuery:
    """Which rows of a view are asked for."""

    view: str
    symbol: str
    as_of: datetime | None
    start_time: datetime | None
    page: PageRequest


@dataclass(frozen=True, slots=True)
class RowsPage:
    """A part of a symbol's rows in one view."""

    feature_names: tuple[str, ...]
    rows: Rows
    next_token: str


@dataclass(frozen=True, slots=True)
class Queries:
    """Reads from snapshots; nothing here waits for a writer."""

    unit_of_work: UnitOfWorkFactory
    market_clock: Clock

    async def feature_view(self, name: str) -> DescribedView:
        """Describes a view."""
        for view in await self._views():
            if f"featureViews/{view.state.name}" == name:
                return view
        raise await self._no_view(name)

    async def feature_views(self, page: PageRequest) -> Page[DescribedView]:
        """Describes views, by name."""
        start, limit = page.place() or 0, page.limit()
        views = sorted(await self._views(), key=lambda view: view.state.name)
        end = start + limit
        return Page(views[start:end], str(end) if end < len(views) else "")

    async def _views(self) -> list[DescribedView]:
        async with self.unit_of_work.snapshot() as stored:
            state = await stored.store.load()
            statistics = await stored.rows.statistics()
        assert state is not None
        now = self.market_clock.now()
        return [DescribedView(VIEWS[view.name], view, statistics, now) for view in state.views]

    async def _no_view(self, name: str) -> FeatureServiceError:
        async with self.unit_of_work.snapshot() as stored:
            removed = (await stored.definitions.load()).removed(DefinitionKind.STORED_VIEW)
        view = name.removeprefix("featureViews/")
        if view in removed and view != name:
            return FeatureViewRemovedError(view)
        return ResourceNotFoundError("feature view", name)

    async def rows(self, query: RowsQuery) -> RowsPage:
        """Lists rows of one symbol as they were known at a time."""
        name = query.view.removeprefix("featureViews/")
        if name not in VIEWS or name == query.view:
            raise await self._no_view(query.view)
        limit, place = query.page.limit(), query.page.place()
        as_of = query.as_of or self.market_clock.now()
        after = None if place is None else _time_at(place)
        async with self.unit_of_work.snapshot() as stored:
            rows = await stored.rows.rows_known_at(query.symbol, query.start_time, after, as_of, limit + 1)
        columns = tuple(feature.name for feature in VIEWS[name].features)
        page = rows.head(limit).select("event_time", "created_time", *columns)
        token = str(_place_of(page["event_time"][-1])) if rows.height > limit else ""
        return RowsPage(columns, page, token)

    async def dataset(self, name: str) -> Dataset:
        """Returns a dataset."""
        async with self.unit_of_work.snapshot() as stored:
            dataset = await stored.datasets.get(name)
        if dataset is None:
            raise ResourceNotFoundError("dataset", name)
        return dataset

    async def datasets(self, page: PageRequest) -> Page[Dataset]:
        """Lists datasets, newest first."""
        limit = page.limit()
        async with self.unit_of_work.snapshot() as stored:
            found = await stored.datasets.page(page.place(), limit + 1)
        token = str(found[limit - 1][0]) if len(found) > limit else ""
        return Page([dataset for _, dataset in found[:limit]], token)

    async def bar_import(self, name: str) -> BarImport:
        """Returns a bulk load."""
        async with self.unit_of_work.snapshot() as stored:
            bar_import = await stored.imports.get(name)
        if bar_import is None:
            raise ResourceNotFoundError("bar import", name)
        return bar_import


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _place_of(moment: datetime) -> int:
    elapsed = moment - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def _time_at(place: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=place)
    except OverflowError as error:
        raise InvalidRequestError([_BAD_TOKEN]) from error
