"""Reads the newest features of entities from the online store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mltrainer_feature.application.online_plans import PlannedColumn, ReadPlan
from mltrainer_feature.application.ports import Clock, OnlineStore
from mltrainer_feature.domain.errors import InvalidRequestError, Violation
from mltrainer_feature.domain.online import Cell, row_statuses, value_statuses

MAX_VALUES = 150_000
"""Of one answer: as doubles with their times they stay below the 4 MiB of a message."""
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ViewRows:
    """The rows of one view, as the entities were asked for: stored times, and statuses."""

    times: Sequence[Cell]
    statuses: bytes


@dataclass(frozen=True, slots=True)
class OnlineAnswer:
    """The cells of every group, column by column, and the rows of every view."""

    plan: ReadPlan
    cells: list[list[Sequence[Cell]]]
    views: list[ViewRows]
    row_count: int
    now_us: int

    def column(self, column: PlannedColumn) -> Sequence[Cell]:
        """Returns the values of a column."""
        return self.cells[column.group][column.cell]

    def statuses(self, column: PlannedColumn) -> bytes:
        """Returns the statuses of a column."""
        return value_statuses(self.views[column.view].statuses, self.column(column))


@dataclass(frozen=True, slots=True)
class ReadOnlineHandler:
    """Answers from the online store; ages are judged on the market clock.

    `read_times` reads stored times as microseconds since 1970 UTC.
    """

    store: OnlineStore
    market_clock: Clock
    read_times: Callable[[Sequence[Cell]], list[int | None]]

    async def __call__(
        self, plan: ReadPlan, keys: Sequence[Sequence[bytes]], row_count: int, max_values: int = MAX_VALUES
    ) -> OnlineAnswer:
        """Reads, for each group of the plan, the rows under its keys.

        Raises:
            InvalidRequestError: More than `max_values` values are asked for.
            OnlineStoreError: The store cannot answer.
        """
        if len(plan.columns) * row_count > max_values:
            raise InvalidRequestError([Violation("entities", f"ask for at most {max_values} values at once")])
        found = await self.store.read(plan.groups, keys)
        now_us = (self.market_clock.now() - _EPOCH) // _MICROSECOND
        cells: list[list[Sequence[Cell]]] = [list(zip(*rows, strict=True)) for rows in found]
        views: list[ViewRows] = []
        judged: dict[tuple[Sequence[Cell], int | None], ViewRows] = {}
        for planned in plan.views:
            times, max_age_us = cells[planned.group][planned.time_cell], planned.view.max_age_us
            rows = judged.get((times, max_age_us))
            if rows is None:
                statuses = row_statuses(self.read_times(times), max_age_us, now_us)
                rows = judged[times, max_age_us] = ViewRows(times, statuses)
            views.append(rows)
        return OnlineAnswer(plan, cells, views, row_count, now_us)
