"""Finds what each entry of the change log has left behind."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters import queries, tables
from mltrainer_registry.adapters.governance import read_policy_change, read_promotion
from mltrainer_registry.adapters.rows import Row, read_evaluation, read_version
from mltrainer_registry.domain.aliases import Alias
from mltrainer_registry.domain.changes import Resource
from mltrainer_registry.domain.names import AliasName
from mltrainer_registry.domain.versions import VersionState


class ChangeKind(StrEnum):
    """Names what an entry of the log tells of."""

    VERSION_CREATED = "VERSION_CREATED"
    VERSION_ARCHIVED = "VERSION_ARCHIVED"
    VERSION_UPDATED = "VERSION_UPDATED"
    MODEL_UPDATED = "MODEL_UPDATED"
    ALIAS_MOVED = "ALIAS_MOVED"
    GATE_EVALUATED = "GATE_EVALUATED"
    PROMOTION_REQUESTED = "PROMOTION_REQUESTED"
    PROMOTION_DECIDED = "PROMOTION_DECIDED"
    GATE_POLICY_CHANGED = "GATE_POLICY_CHANGED"


_VERSIONS = {ChangeKind.VERSION_CREATED, ChangeKind.VERSION_ARCHIVED, ChangeKind.VERSION_UPDATED}
_PROMOTIONS = {ChangeKind.PROMOTION_REQUESTED, ChangeKind.PROMOTION_DECIDED}


async def find_resources(connection: AsyncConnection, rows: Sequence[Row]) -> Mapping[int, Resource]:
    """Returns what each entry has left behind, by revision.

    State and revision of a version are those after the entry; whatever else may change is as it is now.
    """
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    found: dict[int, Resource] = {
        row.revision: _alias(row) for row in by_kind.get(ChangeKind.ALIAS_MOVED, ())
    }
    found |= await _versions(connection, _of(by_kind, _VERSIONS))
    found |= await _promotions(connection, _of(by_kind, _PROMOTIONS))
    found |= await _by_revision(
        connection, tables.gate_evaluation, _of(by_kind, {ChangeKind.GATE_EVALUATED}), read_evaluation
    )
    found |= await _by_revision(
        connection,
        tables.gate_policy_change,
        _of(by_kind, {ChangeKind.GATE_POLICY_CHANGED}),
        read_policy_change,
    )
    updated = _of(by_kind, {ChangeKind.MODEL_UPDATED})
    if updated:
        wanted = select(tables.model).where(tables.model.c.model.in_({row.model for row in updated}))
        models = {model.model: model for model in await queries.find_models(connection, wanted)}
        found |= {row.revision: models[row.model] for row in updated}
    return found


def _of(by_kind: Mapping[str, Sequence[Row]], kinds: Iterable[ChangeKind]) -> list[Row]:
    return [row for kind in kinds for row in by_kind.get(kind, ())]


def _alias(row: Row) -> Alias:
    return Alias(AliasName(row.model, row.alias), row.number, row.change_time, row.revision)


async def _versions(connection: AsyncConnection, rows: Sequence[Row]) -> dict[int, Resource]:
    table = tables.model_version
    found = await _by_name(connection, table, rows)
    versions = {key: read_version(row) for key, row in found.items()}
    states = {
        ChangeKind.VERSION_CREATED: VersionState.ACTIVE,
        ChangeKind.VERSION_ARCHIVED: VersionState.ARCHIVED,
    }
    resources: dict[int, Resource] = {}
    for row in rows:
        version = versions[row.model, row.number]
        state = states.get(row.kind, version.state)
        resources[row.revision] = replace(version, state=state, state_revision=row.revision)
    return resources


async def _promotions(connection: AsyncConnection, rows: Sequence[Row]) -> dict[int, Resource]:
    found = await _by_name(connection, tables.promotion, rows)
    return {row.revision: read_promotion(found[row.model, row.number]) for row in rows}


async def _by_name(
    connection: AsyncConnection, table: Any, rows: Sequence[Row]
) -> dict[tuple[str, int], Row]:
    if not rows:
        return {}
    wanted = tuple_(table.c.model, table.c.number).in_({(row.model, row.number) for row in rows})
    return {(row.model, row.number): row for row in await connection.execute(select(table).where(wanted))}


async def _by_revision(
    connection: AsyncConnection, table: Any, rows: Sequence[Row], read: Any
) -> dict[int, Resource]:
    if not rows:
        return {}
    wanted = select(table).where(table.c.revision.in_([row.revision for row in rows]))
    return {row.revision: read(row) for row in await connection.execute(wanted)}
