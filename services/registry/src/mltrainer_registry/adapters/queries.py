"""Asks the database what both a write transaction and the reader need to know."""

from typing import Any

from sqlalchemy import Select, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.rows import read_alias, read_details, read_version
from mltrainer_registry.domain.aliases import Alias
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.versions import Model, ModelVersion


async def find_version(connection: AsyncConnection, name: VersionName) -> ModelVersion | None:
    """Returns a version."""
    table = tables.model_version
    statement = select(table).where(and_(table.c.model == name.model, table.c.number == name.number))
    row = (await connection.execute(statement)).one_or_none()
    return read_version(row) if row else None


async def find_alias(connection: AsyncConnection, name: AliasName) -> Alias | None:
    """Returns an alias."""
    table = tables.alias
    statement = select(table).where(and_(table.c.model == name.model, table.c.alias == name.alias))
    row = (await connection.execute(statement)).one_or_none()
    return read_alias(row) if row else None


async def find_lowest_token(connection: AsyncConnection, training: str) -> int:
    """Returns the lowest fencing token that is still accepted, 0 for an unknown training."""
    table = tables.training_fence
    statement = select(table.c.lowest_token).where(table.c.training == training)
    return (await connection.execute(statement)).scalar_one_or_none() or 0


async def find_models(connection: AsyncConnection, statement: Select[Any]) -> list[Model]:
    """Returns the models that a statement selects, with their aliases."""
    rows = (await connection.execute(statement)).all()
    table = tables.alias
    wanted = select(table).where(table.c.model.in_([row.model for row in rows]))
    aliases = [read_alias(row) for row in await connection.execute(wanted.order_by(table.c.alias))]
    by_model: dict[str, list[Alias]] = {}
    for alias in aliases:
        by_model.setdefault(alias.name.model, []).append(alias)
    return [
        Model(
            model=row.model,
            version_count=row.version_count,
            aliases=tuple(by_model.get(row.model, ())),
            create_time=row.create_time,
            revision=row.revision,
            details=read_details(row),
        )
        for row in rows
    ]
