"""Keeps counted calls and what was concluded from them."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from mltrainer_common.database import upsert
from sqlalchemy import case, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_monitor.adapters.rows import from_counts, to_reading
from mltrainer_monitor.adapters.tables import look, objective, reading, sample
from mltrainer_monitor.application.ports import SeriesKey
from mltrainer_monitor.domain.counters import CounterReading
from mltrainer_monitor.domain.objectives import Counts, Indicator, ObjectiveState

FINE_S = 10
COARSE_S = 3_600
_ONLY = "default"


class SqlObjectiveRepository:
    """Keeps samples of ten seconds, older ones of an hour."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def readings(self) -> dict[tuple[str, str], CounterReading]:
        """Returns the last reading of each service and instance."""
        rows = await self._connection.execute(select(reading))
        return {(row.service, row.instance): to_reading(row) for row in rows}

    async def last_look(self) -> float | None:
        """Returns when services were last looked at."""
        query = select(look.c.time_s).where(look.c.name == _ONLY)
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def save_look(self, look_s: float, readings: Mapping[tuple[str, str], CounterReading]) -> None:
        """Stores the newest readings and when they were taken."""
        statement = upsert(self._connection, look).values(name=_ONLY, time_s=look_s)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={"time_s": look_s})
        )
        rows = [
            {
                "service": service,
                "instance": instance,
                "process_start_s": one.process_start_s,
                "counts": from_counts(one),
            }
            for (service, instance), one in sorted(readings.items())
        ]
        if rows:
            insert = upsert(self._connection, reading).values(rows)
            changes = {name: insert.excluded[name] for name in ("process_start_s", "counts")}
            await self._connection.execute(
                insert.on_conflict_do_update(index_elements=["service", "instance"], set_=changes)
            )

    async def add_counts(self, time_s: float, counts: Mapping[SeriesKey, Counts]) -> None:
        """Adds calls to the sample of a moment."""
        start_s = int(time_s // FINE_S) * FINE_S
        await self._add({(start_s, *key): one for key, one in counts.items() if one.total})

    async def _add(self, counts: Mapping[tuple[int, str, str], Counts]) -> None:
        rows: list[dict[str, Any]] = [
            {"start_s": start, "service": service, "indicator": indicator, "good": c.good, "total": c.total}
            for (start, service, indicator), c in sorted(counts.items())
        ]
        for begin in range(0, len(rows), 500):
            insert = upsert(self._connection, sample).values(rows[begin : begin + 500])
            changes = {name: sample.c[name] + insert.excluded[name] for name in ("good", "total")}
            keys = ["start_s", "service", "indicator"]
            await self._connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changes))

    async def sums(
        self, now_s: float, windows: Collection[timedelta]
    ) -> dict[SeriesKey, dict[timedelta, Counts]]:
        """Sums the samples of windows that end now."""
        starts = {window: int(now_s - window.total_seconds()) for window in windows}
        columns = [
            func.sum(case((sample.c.start_s >= start, column), else_=0))
            for start in starts.values()
            for column in (sample.c.good, sample.c.total)
        ]
        query = (
            select(sample.c.service, sample.c.indicator, *columns)
            .where(sample.c.start_s >= min(starts.values()))
            .group_by(sample.c.service, sample.c.indicator)
        )
        found: dict[SeriesKey, dict[timedelta, Counts]] = {}
        for row in await self._connection.execute(query):
            values = [int(value) for value in row[2:]]
            found[row.service, Indicator(row.indicator)] = {
                window: Counts(values[2 * index], values[2 * index + 1])
                for index, window in enumerate(starts)
            }
        return found

    async def states(self) -> dict[str, ObjectiveState]:
        """Returns the state of each objective that ever burned."""
        rows = await self._connection.execute(select(objective))
        return {row.name: ObjectiveState(row.is_burning, row.revision) for row in rows}

    async def save_state(self, name: str, state: ObjectiveState) -> None:
        """Stores the state of an objective."""
        values = {"is_burning": state.is_burning, "revision": state.revision}
        statement = upsert(self._connection, objective).values(name=name, **values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))

    async def compact(self, fine_after_s: float, keep_after_s: float) -> None:
        """Merges samples of whole hours before a moment into one an hour and forgets older ones."""
        await self._connection.execute(delete(sample).where(sample.c.start_s < keep_after_s))
        bound_s = int(fine_after_s // COARSE_S) * COARSE_S
        is_fine = (sample.c.start_s < bound_s) & (sample.c.start_s % COARSE_S != 0)
        merged: dict[tuple[int, str, str], Counts] = {}
        for row in await self._connection.execute(select(sample).where(is_fine)):
            key = (row.start_s // COARSE_S * COARSE_S, row.service, row.indicator)
            merged[key] = merged.get(key, Counts()) + Counts(row.good, row.total)
        await self._connection.execute(delete(sample).where(is_fine))
        await self._add(merged)
