"""Answers questions from the database, page by page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from mltrainer_common.database import Database
from sqlalchemy import Select, and_, select

from mltrainer_registry.adapters import queries, tables
from mltrainer_registry.adapters.rows import (
    Row,
    read_evaluation,
    read_move,
)
from mltrainer_registry.adapters.uploads import find_claimed
from mltrainer_registry.application.paging import Page
from mltrainer_registry.domain.aliases import Alias, AliasMove
from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.domain.gates import GateEvaluation
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.versions import Model, ModelVersion

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SqlRegistryReader:
    """Reads committed state only."""

    database: Database

    async def model(self, model: str) -> Model | None:
        """Returns a model."""
        async with self.database.snapshot() as connection:
            found = await queries.find_models(
                connection, select(tables.model).where(tables.model.c.model == model)
            )
        return found[0] if found else None

    async def version(self, name: VersionName) -> ModelVersion | None:
        """Returns a version."""
        async with self.database.snapshot() as connection:
            return await queries.find_version(connection, name)

    async def alias_as_of(self, name: AliasName, as_of_time: datetime) -> Alias | None:
        """Returns where an alias pointed at a time."""
        table = tables.alias_move
        known = and_(
            table.c.model == name.model, table.c.alias == name.alias, table.c.move_time <= as_of_time
        )
        rows = await self._rows(select(table).where(known).order_by(table.c.revision.desc()), 0)
        return read_move(rows[0]).result if rows else None

    async def alias_moves(self, name: AliasName, limit: int, cursor: str) -> Page[AliasMove]:
        """Lists the history of an alias, newest first."""
        table = tables.alias_move
        of_alias = and_(table.c.model == name.model, table.c.alias == name.alias)
        rows = await self._rows(_before(select(table).where(of_alias), table.c.revision, cursor), limit)
        return _page([read_move(row) for row in rows], limit, lambda move: move.revision)

    async def gate_evaluations(self, name: VersionName, limit: int, cursor: str) -> Page[GateEvaluation]:
        """Lists the evaluations of a version, newest first."""
        table = tables.gate_evaluation
        of_version = and_(table.c.model == name.model, table.c.number == name.number)
        rows = await self._rows(_before(select(table).where(of_version), table.c.revision, cursor), limit)
        return _page([read_evaluation(row) for row in rows], limit, lambda held: held.revision)

    async def lowest_token(self, training: str) -> int:
        """Returns the lowest fencing token that is still accepted."""
        async with self.database.snapshot() as connection:
            return await queries.find_lowest_token(connection, training)

    async def is_uploaded(self, training: str, digest: str) -> bool:
        """Tells whether a training has uploaded a manifest."""
        table = tables.upload
        here = and_(table.c.training == training, table.c.manifest_digest == digest, table.c.is_complete)
        return bool(await self._rows(select(table.c.training).where(here), 0))

    async def claimed(self, digests: Sequence[str]) -> frozenset[str]:
        """Returns those of the digests that are claimed by a version or an upload."""
        async with self.database.snapshot() as connection:
            return await find_claimed(connection, digests)

    async def _rows(self, statement: Select[Any], limit: int) -> Sequence[Row]:
        async with self.database.snapshot() as connection:
            # One more than the page holds tells whether there is a next page.
            rows: Sequence[Row] = (await connection.execute(statement.limit(limit + 1))).all()
            return rows


def _before(statement: Select[Any], column: Any, cursor: str) -> Select[Any]:
    if cursor:
        if not cursor.isascii() or not cursor.isdigit():
            raise InvalidFieldError("page_token", "is not the next_page_token of this list")
        statement = statement.where(column < int(cursor))
    return statement.order_by(column.desc())


def _page(items: Sequence[T], limit: int, key: Callable[[T], str | int]) -> Page[T]:
    shown = tuple(items[:limit])
    return Page(shown, str(key(shown[-1])) if len(items) > limit else "")
