"""Keeps models with their versions, predictions and labels."""

import struct
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from mltrainer_common.database import upsert
from sqlalchemy import ColumnElement, Table, and_, case, delete, func, literal, or_, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_monitor.adapters.rows import report_columns, to_model
from mltrainer_monitor.adapters.tables import answering, label, model, prediction, version
from mltrainer_monitor.application.ports import Label, LoggedCall, NewVersion
from mltrainer_monitor.domain.drift import Window
from mltrainer_monitor.domain.scores import ScoreSums
from mltrainer_monitor.domain.watched_model import WatchedModel
from mltrainer_monitor.wire.events import UNNAMED

# Below the number of parameters that a statement may have.
_CHUNK = 500


class SqlModelRepository:
    """Keeps models inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, name: str) -> WatchedModel | None:
        """Returns a model."""
        row = (await self._connection.execute(select(model).where(model.c.name == name))).one_or_none()
        return to_model(row) if row else None

    async def changed(self) -> list[str]:
        """Names the models of which more is known than their report has seen."""
        query = select(model.c.name).where(model.c.revision > model.c.evaluated_revision)
        return list((await self._connection.execute(query.order_by(model.c.name))).scalars())

    async def touch(self, names: Collection[str]) -> None:
        """Notes that more is known about models."""
        for name in sorted(names):
            new = {
                "name": name,
                "revision": 1,
                "evaluated_revision": 0,
                "version": 0,
                "is_alarmed": False,
                "drift_revision": 0,
            }
            statement = upsert(self._connection, model).values(new)
            await self._connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["name"], set_={"revision": model.c.revision + 1}
                )
            )

    async def save(self, changed: WatchedModel) -> None:
        """Stores the report of a model."""
        statement = update(model).where(model.c.name == changed.name).values(report_columns(changed))
        await self._connection.execute(statement)

    async def add_version(self, new: NewVersion) -> None:
        """Stores a version."""
        values = {"model": new.model, "number": new.number, "reference_digest": new.reference_digest}
        statement = upsert(self._connection, version).values(values).on_conflict_do_nothing()
        await self._connection.execute(statement)

    async def add_calls(self, calls: Sequence[LoggedCall]) -> None:
        """Stores predictions: the latest of each version, symbol and event time."""
        ordered = sorted(calls, key=lambda call: call.predict_time)
        latest: dict[tuple[Any, ...], dict[str, Any]] = {}
        await self._note_answers(ordered)
        for call in ordered:
            for row in call.rows:
                latest[call.model, call.version, row.event_time, row.symbol] = {
                    "model": call.model,
                    "number": call.version,
                    "event_time": row.event_time,
                    "symbol": row.symbol,
                    "value": row.value,
                    "features": struct.pack(f"<{len(row.features)}d", *row.features),
                    "predict_time": call.predict_time,
                }
        await self._put_latest(prediction, list(latest.values()), "predict_time")

    async def _note_answers(self, calls: Sequence[LoggedCall]) -> None:
        latest: dict[tuple[str, int], dict[str, Any]] = {}
        for call in calls:
            row = latest.setdefault(
                (call.model, call.version),
                {"model": call.model, "number": call.version, "champion_time": None},
            )
            row |= {"feature_names": list(call.feature_names), "last_time": call.predict_time}
            if call.is_champion:
                row["champion_time"] = call.predict_time
        if not latest:
            return
        statement = upsert(self._connection, answering).values(list(latest.values()))
        changes = {
            column.name: case((_is_later(column, new), new), else_=column)
            for column in (answering.c.last_time, answering.c.champion_time)
            for new in (statement.excluded[column.name],)
        }
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["model", "number"], set_=changes)
        )

    async def add_labels(self, labels: Sequence[Label]) -> None:
        """Stores labels: the one known latest of each model, symbol and event time."""
        ordered = sorted(labels, key=lambda one: one.knowledge_time)
        latest = {
            (one.model, one.event_time, one.symbol): {
                "model": one.model,
                "event_time": one.event_time,
                "symbol": one.symbol,
                "value": one.value,
                "knowledge_time": one.knowledge_time,
            }
            for one in ordered
        }
        await self._put_latest(label, list(latest.values()), "knowledge_time")

    async def _put_latest(self, table: Table, rows: list[dict[str, Any]], time_column: str) -> None:
        keys = [column.name for column in table.primary_key]
        for start in range(0, len(rows), _CHUNK):
            statement = upsert(self._connection, table).values(rows[start : start + _CHUNK])
            await self._connection.execute(
                statement.on_conflict_do_update(
                    index_elements=keys,
                    set_={
                        column.name: statement.excluded[column.name]
                        for column in table.columns
                        if column.name not in keys
                    },
                    where=table.c[time_column] < statement.excluded[time_column],
                )
            )

    async def answering_version(self, name: str) -> int | None:
        """Returns the version that last answered as champion, else the last one that answered at all."""
        query = (
            select(answering.c.number)
            .where(answering.c.model == name)
            .order_by(
                answering.c.champion_time.is_(None),
                answering.c.champion_time.desc(),
                answering.c.last_time.desc(),
                answering.c.number.desc(),
            )
            .limit(1)
        )
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def reference_digest(self, name: str, number: int) -> str:
        """Returns where the reference lies; empty where none is known."""
        query = select(version.c.reference_digest).where(version.c.model == name, version.c.number == number)
        return (await self._connection.execute(query)).scalar_one_or_none() or ""

    async def window(self, name: str, number: int, rows: int) -> Window:
        """Returns the newest rows of a version."""
        names_query = select(answering.c.feature_names).where(
            answering.c.model == name, answering.c.number == number
        )
        names = tuple((await self._connection.execute(names_query)).scalar_one_or_none() or ())
        query = (
            select(prediction.c.event_time, prediction.c.value, prediction.c.features)
            .where(prediction.c.model == name, prediction.c.number == number)
            .order_by(prediction.c.event_time.desc(), prediction.c.symbol)
            .limit(rows)
        )
        found = [
            row
            for row in await self._connection.execute(query)
            if len(row.features) == len(names) * np.dtype(np.float64).itemsize
        ]
        features = np.frombuffer(b"".join(row.features for row in found), dtype="<f8")
        return Window(
            np.array([row.event_time.timestamp() for row in found], dtype=np.float64),
            names,
            features.reshape(len(found), len(names)),
            np.array([row.value for row in found], dtype=np.float64),
        )

    async def score_sums(self, name: str, below: int | None, limit: int) -> list[tuple[int, ScoreSums]]:
        """Returns the sums of versions below a number, newest first."""
        known = union(
            select(version.c.number).where(version.c.model == name),
            select(answering.c.number).where(answering.c.model == name),
        ).subquery()
        query = select(known.c.number).order_by(known.c.number.desc()).limit(limit)
        if below is not None:
            query = query.where(known.c.number < below)
        return [
            (number, await self._sums_of(name, number))
            for number in (await self._connection.execute(query)).scalars().all()
        ]

    async def _sums_of(self, name: str, number: int) -> ScoreSums:
        last_labelled = select(func.max(label.c.event_time)).where(label.c.model == name).scalar_subquery()
        joined = prediction.outerjoin(
            label,
            (label.c.model == prediction.c.model)
            & (label.c.event_time == prediction.c.event_time)
            & (label.c.symbol == prediction.c.symbol),
        )
        mine = (prediction.c.model == name) & (prediction.c.number == number)
        is_due = (prediction.c.event_time <= last_labelled) & prediction.c.symbol.notlike(f"{UNNAMED}%")
        error = prediction.c.value - label.c.value
        first = select(
            func.count(),
            func.sum(case((is_due, 1), else_=0)),
            func.count(label.c.value),
            func.sum(error * error),
            func.sum(error),
            func.avg(label.c.value),
        )
        row = (await self._connection.execute(first.select_from(joined).where(mine))).one()
        deviation = label.c.value - literal(row[5] or 0.0)
        second = select(func.sum(deviation * deviation)).select_from(joined).where(mine)
        squares = (await self._connection.execute(second)).scalar_one()
        return ScoreSums(row[0], int(row[1] or 0), row[2], row[3] or 0.0, squares or 0.0, row[4] or 0.0)

    async def trim(self, rows: int) -> None:
        """Forgets all but the newest predictions and labels of each model."""
        for table in (prediction, label):
            models = (await self._connection.execute(select(table.c.model).distinct())).scalars().all()
            for name in models:
                oldest_kept = (
                    select(table.c.event_time)
                    .where(table.c.model == name)
                    .order_by(table.c.event_time.desc())
                    .offset(rows - 1)
                    .limit(1)
                )
                bound = (await self._connection.execute(oldest_kept)).scalar_one_or_none()
                if bound is not None:
                    statement = delete(table).where(table.c.model == name, table.c.event_time < bound)
                    await self._connection.execute(statement)


def _is_later(known: ColumnElement[Any], new: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(new.is_not(None), or_(known.is_(None), known < new))
