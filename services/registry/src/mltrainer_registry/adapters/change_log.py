"""Writes and reads the log of all changes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from mltrainer_common.database import Database, upsert
from mltrainer_common.telemetry import current_traceparent
from mltrainer_messaging.outbox import SqlOutbox
from sqlalchemy import Select, and_, insert, select, tuple_, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.rows import (
    Row,
    evaluation_row,
    move_row,
    read_alias,
    read_version,
    version_row,
)
from mltrainer_registry.domain.aliases import Alias, AliasMove
from mltrainer_registry.domain.changes import (
    AliasMoved,
    Change,
    GateEvaluated,
    LoggedChange,
    VersionArchived,
    VersionCreated,
)
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.versions import ModelVersion, VersionState

_CREATED, _ARCHIVED, _MOVED, _EVALUATED = (
    "VERSION_CREATED",
    "VERSION_ARCHIVED",
    "ALIAS_MOVED",
    "GATE_EVALUATED",
)
_STATES = {_CREATED: VersionState.ACTIVE, _ARCHIVED: VersionState.ARCHIVED}


class SqlChangeLog:
    """Applies changes to the state, the log and the outbox of one write transaction."""

    def __init__(self, connection: AsyncConnection, outbox: SqlOutbox) -> None:
        self._connection = connection
        self._outbox = outbox
        self.last_revision = 0

    async def next_revision(self) -> int:
        """Returns the revision that the next change takes."""
        head = tables.registry_head
        statement = update(head).values(revision=head.c.revision + 1).returning(head.c.revision)
        self.last_revision = (await self._connection.execute(statement)).scalar_one()
        return self.last_revision

    async def record(self, change: Change) -> None:
        """Applies a change, appends it to the log and adds its event to the outbox."""
        match change:
            case VersionCreated(version=version):
                await self._create(version)
            case VersionArchived(version=version):
                await self._archive(version)
            case AliasMoved(move=move):
                await self._move(move)
            case GateEvaluated(evaluation=evaluation):
                await self._insert(tables.gate_evaluation, evaluation_row(evaluation))
            case _:
                assert_never(change)
        row = _log_row(change)
        await self._insert(tables.change, {**row, "traceparent": current_traceparent() or ""})
        await self._touch_model(row["model"], row["revision"])
        if not isinstance(change, VersionArchived):
            self._outbox.add(change)

    async def _create(self, version: ModelVersion) -> None:
        await self._insert(tables.model_version, version_row(version))
        row = {
            "model": version.name.model,
            "version_count": version.name.number,
            "create_time": version.create_time,
            "revision": version.revision,
        }
        statement = upsert(self._connection, tables.model).values(row)
        count = {"version_count": version.name.number}
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["model"], set_=count))

    async def _archive(self, version: ModelVersion) -> None:
        table = tables.model_version
        here = and_(table.c.model == version.name.model, table.c.number == version.name.number)
        values = {"state": version.state, "state_revision": version.state_revision}
        await self._connection.execute(update(table).where(here).values(values))

    async def _move(self, move: AliasMove) -> None:
        await self._insert(tables.alias_move, move_row(move))
        target = {"number": move.to_number, "update_time": move.move_time, "revision": move.revision}
        row = {"model": move.alias.model, "alias": move.alias.alias, **target}
        statement = upsert(self._connection, tables.alias).values(row)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["model", "alias"], set_=target)
        )

    async def _touch_model(self, model: str, revision: int) -> None:
        here = tables.model.c.model == model
        await self._connection.execute(update(tables.model).where(here).values(revision=revision))

    async def _insert(self, table: Any, row: dict[str, Any]) -> None:
        await self._connection.execute(insert(table).values(row))


def _log_row(change: Change) -> dict[str, Any]:
    match change:
        case VersionCreated(version=version):
            return _row(version.revision, _CREATED, version.name, "", version.create_time)
        case VersionArchived(version=version):
            return _row(version.state_revision, _ARCHIVED, version.name, "", version.create_time)
        case AliasMoved(move=move):
            target = move.alias.version(move.to_number)
            return _row(move.revision, _MOVED, target, move.alias.alias, move.move_time)
        case GateEvaluated(evaluation=held):
            return _row(held.revision, _EVALUATED, held.version, held.alias.alias, held.evaluate_time)
        case _:
            assert_never(change)


def _row(revision: int, kind: str, version: VersionName, alias: str, change_time: Any) -> dict[str, Any]:
    return {
        "revision": revision,
        "kind": kind,
        "model": version.model,
        "number": version.number,
        "alias": alias,
        "change_time": change_time,
    }


@dataclass(frozen=True, slots=True)
class SqlChangeReader:
    """Reads the log with the resources as they were after each change."""

    database: Database

    async def revision(self) -> int:
        """Returns the newest revision."""
        async with self.database.snapshot() as connection:
            return await _head(connection)

    async def aliases(self) -> tuple[int, tuple[Alias, ...]]:
        """Returns all aliases and the revision at which they were read."""
        async with self.database.snapshot() as connection:
            revision = await _head(connection)
            rows = await connection.execute(select(tables.alias))
            return revision, tuple(read_alias(row) for row in rows)

    async def changes(self, after: int, limit: int) -> Sequence[LoggedChange]:
        """Returns the changes after a revision, oldest first."""
        return await self._read(select(tables.change).where(tables.change.c.revision > after), limit)

    async def present_state(self, after: int, up_to: int, limit: int) -> Sequence[LoggedChange]:
        """Returns, of the changes in a range, those not overtaken by a later one of the same resource."""
        columns: list[Any] = [tables.model_version.c.state_revision, tables.alias.c.revision]
        in_range = [
            select(column).where(column.between(after + 1, up_to)).order_by(column).limit(limit)
            for column in columns
        ]
        latest = union_all(*(one.subquery().select() for one in in_range))
        return await self._read(select(tables.change).where(tables.change.c.revision.in_(latest)), limit)

    async def _read(self, statement: Select[Any], limit: int) -> Sequence[LoggedChange]:
        async with self.database.snapshot() as connection:
            ordered = statement.order_by(tables.change.c.revision).limit(limit)
            rows = (await connection.execute(ordered)).all()
            versions = await _versions(connection, [row for row in rows if row.kind in _STATES])
        return [LoggedChange(row.revision, _resource(row, versions), row.traceparent) for row in rows]


async def _head(connection: AsyncConnection) -> int:
    revision: int = (await connection.execute(select(tables.registry_head.c.revision))).scalar_one()
    return revision


async def _versions(connection: AsyncConnection, rows: Sequence[Row]) -> dict[VersionName, ModelVersion]:
    if not rows:
        return {}
    table = tables.model_version
    wanted = tuple_(table.c.model, table.c.number).in_({(row.model, row.number) for row in rows})
    found = [read_version(row) for row in await connection.execute(select(table).where(wanted))]
    return {version.name: version for version in found}


def _resource(row: Row, versions: dict[VersionName, ModelVersion]) -> ModelVersion | Alias | None:
    if row.kind in _STATES:
        version = versions[VersionName(row.model, row.number)]
        return replace(version, state=_STATES[row.kind], state_revision=row.revision)
    if row.kind == _MOVED:
        return Alias(AliasName(row.model, row.alias), row.number, row.change_time, row.revision)
    return None
