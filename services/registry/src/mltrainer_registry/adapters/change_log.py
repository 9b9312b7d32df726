"""Writes and reads the log of all changes."""

from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from mltrainer_common.bulk import Rows, write_rows
from mltrainer_common.database import Database, upsert
from mltrainer_common.telemetry import current_traceparent
from mltrainer_messaging.outbox import SqlOutbox
from sqlalchemy import CompoundSelect, Select, and_, delete, func, insert, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.change_resources import ChangeKind, find_resources
from mltrainer_registry.adapters.facts import OF_MODEL, fact_rows, replace_tags
from mltrainer_registry.adapters.governance import policy_row, promotion_row
from mltrainer_registry.adapters.rows import (
    details_row,
    evaluation_row,
    move_row,
    read_alias,
    version_row,
)
from mltrainer_registry.domain.aliases import Alias, AliasMove
from mltrainer_registry.domain.changes import (
    AliasMoved,
    Change,
    GateEvaluated,
    GatePolicyChanged,
    LoggedChange,
    ModelUpdated,
    Progress,
    PromotionDecided,
    PromotionRequested,
    Resource,
    VersionArchived,
    VersionCreated,
    VersionUpdated,
)
from mltrainer_registry.domain.errors import RevisionPrunedError
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.domain.promotions import Promotion
from mltrainer_registry.domain.versions import Model, ModelVersion

Mark = tuple[int | None, int, int]


class SqlChangeLog:
    """Applies changes to the state, the log and the outbox of one write transaction."""

    def __init__(self, connection: AsyncConnection, outbox: SqlOutbox) -> None:
        self._connection = connection
        self._outbox = outbox
        self._first_revision: int | None = None
        self._last_revision = 0
        self._rows: list[dict[str, Any]] = []
        self._changes: list[Change] = []
        self._contexts: list[Context] = []

    def mark(self) -> Mark:
        """Returns what `restore` goes back to."""
        return self._first_revision, self._last_revision, len(self._rows)

    def restore(self, mark: Mark) -> None:
        """Forgets what was recorded since, as a rollback to a savepoint does with the rest."""
        self._first_revision, self._last_revision, kept = mark
        for recorded in (self._rows, self._changes, self._contexts):
            del recorded[kept:]

    @property
    def progress(self) -> Progress | None:
        """Returns what was recorded; None where nothing was."""
        if not self._rows or self._first_revision is None:
            return None
        logged = [_logged(change, row) for change, row in zip(self._changes, self._rows, strict=True)]
        known = tuple(change for change in logged if change is not None)
        return Progress(self._first_revision, self._last_revision, known if len(known) == len(logged) else ())

    async def next_revision(self) -> int:
        """Returns the revision that the next change takes; writers take turns, so the head stands still."""
        if self._first_revision is None:
            self._last_revision = await _head(self._connection)
            self._first_revision = self._last_revision + 1
        self._last_revision += 1
        return self._last_revision

    async def flush(self) -> None:
        """Writes the entries of the log and adds their events; a unit of work does so before it commits."""
        for change, context in zip(self._changes, self._contexts, strict=True):
            _ = context.run(self._outbox.add, change)
        if self._rows:
            await write_rows(
                self._connection,
                Rows(tables.change, self._rows),
                Rows(
                    tables.registry_head,
                    [_head_row(self._last_revision)],
                    key=("id",),
                    overwritten=("revision",),
                ),
                self._outbox.take_rows(),
            )

    async def prune(self, before_time: datetime, limit: int) -> int | None:
        """Forgets overtaken entries from before a time, within so many revisions."""
        head, change = tables.registry_head, tables.change
        newest, pruned = (
            await self._connection.execute(select(head.c.revision, head.c.pruned_revision))
        ).one()
        kept = select(func.min(change.c.revision)).where(change.c.change_time >= before_time)
        first_kept = (await self._connection.execute(kept)).scalar_one() or newest + 1
        up_to = min(pruned + limit, first_kept - 1)
        if up_to <= pruned:
            return None
        overtaken = change.c.revision.between(pruned + 1, up_to) & change.c.revision.not_in(
            _standing(pruned, up_to)
        )
        forgotten = await self._connection.execute(delete(change).where(overtaken))
        await self._connection.execute(update(head).values(pruned_revision=up_to))
        return forgotten.rowcount

    async def record_versions(self, created: Sequence[tuple[ModelVersion, Context]]) -> None:
        """Records the creation of versions, each with the trace of its context."""
        if not created:
            return
        versions = [version for version, _ in created]
        await self._insert_versions(versions)
        for version, context in created:
            change = VersionCreated(version)
            context.run(self._log, change, _log_row(change))

    async def record(self, change: Change) -> None:
        """Applies a change, appends it to the log and adds its event to the outbox."""
        match change:
            case VersionCreated(version=version):
                await self._insert_versions([version])
            case VersionArchived(version=version):
                await self._archive(version)
            case VersionUpdated(version=version):
                await self._update_version(version)
            case ModelUpdated(model=model):
                await self._update_model(model)
            case AliasMoved(move=move):
                await self._move(move)
            case GateEvaluated(evaluation=evaluation):
                await self._insert(tables.gate_evaluation, evaluation_row(evaluation))
            case PromotionRequested(promotion=promotion):
                await self._insert(tables.promotion, promotion_row(promotion))
            case PromotionDecided(promotion=promotion):
                await self._decide(promotion)
            case GatePolicyChanged(change=policy):
                await self._insert(tables.gate_policy_change, policy_row(policy))
            case _:
                assert_never(change)
        row = _log_row(change)
        self._log(change, row)
        await self._touch_model(row["model"], row["revision"])

    def _log(self, change: Change, row: dict[str, Any]) -> None:
        self._changes.append(change)
        self._rows.append({**row, "traceparent": current_traceparent() or ""})
        self._contexts.append(copy_context())

    async def _insert_versions(self, versions: Sequence[ModelVersion]) -> None:
        newest = {version.name.model: version for version in versions}
        models = [
            {
                "model": version.name.model,
                "version_count": version.name.number,
                "create_time": version.create_time,
                "revision": version.revision,
            }
            for version in newest.values()
        ]
        await write_rows(
            self._connection,
            Rows(tables.model, models, key=("model",), overwritten=("version_count", "revision")),
            Rows(tables.model_version, [version_row(version) for version in versions]),
            Rows(tables.fact, [row for version in versions for row in fact_rows(version)]),
        )

    async def _archive(self, version: ModelVersion) -> None:
        table = tables.model_version
        here = and_(table.c.model == version.name.model, table.c.number == version.name.number)
        values = {"state": version.state, "state_revision": version.state_revision}
        await self._connection.execute(update(table).where(here).values(values))

    async def _update_version(self, version: ModelVersion) -> None:
        table, name = tables.model_version, version.name
        here = and_(table.c.model == name.model, table.c.number == name.number)
        values = {**details_row(version.details), "state_revision": version.state_revision}
        await self._connection.execute(update(table).where(here).values(values))
        await replace_tags(self._connection, name.model, name.number, version.details.tags)

    async def _update_model(self, model: Model) -> None:
        table = tables.model
        values = {**details_row(model.details), "details_revision": model.revision}
        await self._connection.execute(update(table).where(table.c.model == model.model).values(values))
        await replace_tags(self._connection, model.model, OF_MODEL, model.details.tags)

    async def _decide(self, promotion: Promotion) -> None:
        table, name = tables.promotion, promotion.name
        here = and_(table.c.model == name.model, table.c.number == name.number)
        await self._connection.execute(update(table).where(here).values(promotion_row(promotion)))

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
        case VersionCreated(version=it):
            row = _row(it.revision, ChangeKind.VERSION_CREATED, it.name, "", it.create_time)
        case VersionArchived(version=it):
            row = _row(it.state_revision, ChangeKind.VERSION_ARCHIVED, it.name, "", it.create_time)
        case VersionUpdated(version=it):
            row = _row(it.state_revision, ChangeKind.VERSION_UPDATED, it.name, "", it.create_time)
        case ModelUpdated(model=model, change_time=time):
            name = VersionName(model.model, OF_MODEL)
            row = _row(model.revision, ChangeKind.MODEL_UPDATED, name, "", time)
        case AliasMoved(move=move):
            target = move.alias.version(move.to_number)
            row = _row(move.revision, ChangeKind.ALIAS_MOVED, target, move.alias.alias, move.move_time)
        case GateEvaluated(evaluation=held):
            alias = held.alias.alias
            row = _row(held.revision, ChangeKind.GATE_EVALUATED, held.version, alias, held.evaluate_time)
        case PromotionRequested(promotion=promotion) | PromotionDecided(promotion=promotion):
            row = _promotion_row(promotion)
        case GatePolicyChanged(change=policy):
            name = VersionName(policy.name.model, policy.number)
            kind = ChangeKind.GATE_POLICY_CHANGED
            row = _row(policy.revision, kind, name, policy.name.alias, policy.update_time)
        case _:
            assert_never(change)
    return row


def _head_row(revision: int) -> dict[str, Any]:
    return {"id": tables.HEAD_ID, "revision": revision, "pruned_revision": 0}


def _promotion_row(promotion: Promotion) -> dict[str, Any]:
    decision, name = promotion.decision, VersionName(promotion.name.model, promotion.name.number)
    kind = ChangeKind.PROMOTION_DECIDED if decision else ChangeKind.PROMOTION_REQUESTED
    time = decision.decide_time if decision else promotion.create_time
    return _row(promotion.revision, kind, name, promotion.alias.alias, time)


def _row(revision: int, kind: str, version: VersionName, alias: str, change_time: Any) -> dict[str, Any]:
    return {
        "revision": revision,
        "kind": kind,
        "model": version.model,
        "number": version.number,
        "alias": alias,
        "change_time": change_time,
    }


def _logged(change: Change, row: dict[str, Any]) -> LoggedChange | None:
    """Returns what the log tells of a change; None for kinds that only the log can tell."""
    resource: Resource
    match change:
        case VersionCreated(version=it) | VersionArchived(version=it) | VersionUpdated(version=it):
            resource = it
        case AliasMoved(move=move):
            resource = move.result
        case GateEvaluated(evaluation=evaluation):
            resource = evaluation
        case PromotionRequested(promotion=promotion) | PromotionDecided(promotion=promotion):
            resource = promotion
        case GatePolicyChanged(change=policy):
            resource = policy
        case _:
            return None
    return LoggedChange(row["revision"], resource, row["traceparent"])


@dataclass(frozen=True, slots=True)
class SqlChangeReader:
    """Reads the log with the resources as they were after each change."""

    database: Database

    async def revision(self) -> int:
        """Returns the newest revision."""
        async with self.database.single_read() as connection:
            return await _head(connection)

    async def aliases(self) -> tuple[int, tuple[Alias, ...]]:
        """Returns all aliases and the revision at which they were read."""
        async with self.database.snapshot() as connection:
            revision = await _head(connection)
            rows = await connection.execute(select(tables.alias))
            return revision, tuple(read_alias(row) for row in rows)

    async def changes(self, after: int, limit: int) -> Sequence[LoggedChange]:
        """Returns the changes after a revision, oldest first."""
        async with self.database.snapshot() as connection:
            pruned = (await connection.execute(select(tables.registry_head.c.pruned_revision))).scalar_one()
            if after < pruned:
                raise RevisionPrunedError(after, pruned)
            return await _read(
                connection, select(tables.change).where(tables.change.c.revision > after), limit
            )

    async def present_state(self, after: int, up_to: int, limit: int) -> Sequence[LoggedChange]:
        """Returns, of the changes in a range, those not overtaken by a later one of the same resource."""
        latest = _standing(after, up_to, limit)
        async with self.database.snapshot() as connection:
            return await _read(
                connection, select(tables.change).where(tables.change.c.revision.in_(latest)), limit
            )


async def _read(connection: AsyncConnection, statement: Select[Any], limit: int) -> Sequence[LoggedChange]:
    rows = (await connection.execute(statement.order_by(tables.change.c.revision).limit(limit))).all()
    found = await find_resources(connection, rows)
    return [LoggedChange(row.revision, found.get(row.revision), row.traceparent) for row in rows]


def _standing(after: int, up_to: int, limit: int | None = None) -> CompoundSelect[Any]:
    """Selects the revisions in a range that left something behind which no later one has changed."""
    columns: list[Any] = [
        tables.model_version.c.state_revision,
        tables.alias.c.revision,
        tables.model.c.details_revision,
        tables.promotion.c.revision,
        tables.gate_policy_change.c.revision,
    ]
    in_range = [
        select(column).where(column.between(after + 1, up_to)).order_by(column).limit(limit)
        for column in columns
    ]
    return union_all(*(one.subquery().select() for one in in_range))


async def _head(connection: AsyncConnection) -> int:
    revision: int = (await connection.execute(select(tables.registry_head.c.revision))).scalar_one()
    return revision
