"""Follows parents and facts through the database."""

from dataclasses import dataclass
from typing import Any

from mltrainer_common.database import Database
from sqlalchemy import Select, String, and_, cast, func, literal, or_, select

from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.facts import FEATURE_VIEW_VERSION, LINEAGE
from mltrainer_registry.adapters.filter_compiler import FilterCompiler
from mltrainer_registry.adapters.pages import page_of, read_cursor
from mltrainer_registry.application.paging import Page
from mltrainer_registry.domain.filters import VERSION_FIELDS
from mltrainer_registry.domain.lineage import MAX_GENERATIONS, Descendant, NodeKind, Origin
from mltrainer_registry.domain.names import VersionName, parse_version

_FACTS = {
    NodeKind.VERSION: "parent_version",
    NodeKind.STUDY: "study",
    NodeKind.DATASET: "dataset",
    NodeKind.DATASET_SHA256: "dataset_sha256",
    NodeKind.FEATURE_VIEW_VERSION: FEATURE_VIEW_VERSION,
    NodeKind.CODE_DIGEST: "code_digest",
    NodeKind.ENVIRONMENT_DIGEST: "environment_digest",
    NodeKind.COMPUTATION_KEY: "computation_key",
}


@dataclass(frozen=True, slots=True)
class SqlLineageReader:
    """Reads committed state only."""

    database: Database

    async def descendants(self, origin: Origin, limit: int, cursor: str) -> Page[Descendant]:
        """Lists the versions that were made of something, by name."""
        found = _descendants(_direct(origin), MAX_GENERATIONS)
        nearest = func.min(found.c.generation)
        text = FilterCompiler(self.database.dialect, found, VERSION_FIELDS)
        model, query = text.binary(found.c.model), f"{origin.kind} {origin.name}"
        statement = select(found.c.model, found.c.number, nearest.label("generation"))
        key = read_cursor(cursor, query, (str, int))
        if key:
            later = and_(model == key[0], found.c.number > key[1])
            statement = statement.where(or_(model > key[0], later))
        grouped = statement.group_by(found.c.model, found.c.number)
        async with self.database.snapshot() as connection:
            ordered = grouped.order_by(model, found.c.number).limit(limit + 1)
            rows = (await connection.execute(ordered)).all()
        items = [Descendant(str(VersionName(row.model, row.number)), row.generation) for row in rows]
        return page_of(items, limit, query, _key)

    async def children(
        self, name: VersionName, generations: int, limit: int
    ) -> list[tuple[VersionName, VersionName]]:
        """Returns child and parent for every version made of this one, nearest first."""
        found = _descendants(_direct(Origin(NodeKind.VERSION, str(name))), generations)
        fact = tables.fact
        parent = and_(
            fact.c.model == found.c.model,
            fact.c.number == found.c.number,
            fact.c.kind == LINEAGE,
            fact.c.name == "parent_version",
        )
        columns = (found.c.model, found.c.number, fact.c.value)
        statement = select(*columns).join(fact, parent).group_by(*columns)
        nearest = statement.order_by(func.min(found.c.generation), *columns).limit(limit)
        async with self.database.snapshot() as connection:
            rows = (await connection.execute(nearest)).all()
        return [(VersionName(row.model, row.number), parse_version(row.value)) for row in rows]


def _key(descendant: Descendant) -> tuple[str, int]:
    name = parse_version(descendant.version)
    return (name.model, name.number)


def _direct(origin: Origin) -> Select[Any]:
    """Selects the versions that were made of something directly."""
    version, fact = tables.model_version, tables.fact
    if origin.kind is NodeKind.TRAINING:
        made: Any = version.c.training == origin.name
        return select(version.c.model, version.c.number).where(made)
    if origin.kind is NodeKind.ATTEMPT:
        training = origin.name.partition("/attempts/")[0]
        return select(version.c.model, version.c.number).where(version.c.training == training)
    here = and_(fact.c.kind == LINEAGE, fact.c.name == _FACTS[origin.kind], fact.c.value == origin.name)
    return select(fact.c.model, fact.c.number).where(here)


def _descendants(direct: Select[Any], generations: int) -> Any:
    """Adds the versions made of those versions, and so on; each generation once, so circles end."""
    first = direct.add_columns(literal(1).label("generation")).cte("descendant", recursive=True)
    fact = tables.fact
    parent_name = literal("models/", String()) + first.c.model + "/versions/" + cast(first.c.number, String)
    child_of = and_(fact.c.kind == LINEAGE, fact.c.name == "parent_version", fact.c.value == parent_name)
    further = (
        select(fact.c.model, fact.c.number, (first.c.generation + 1).label("generation"))
        .join(first, child_of)
        .where(first.c.generation < generations)
    )
    return first.union(further)
