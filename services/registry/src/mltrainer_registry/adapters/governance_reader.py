"""Lists policies and promotions, page by page."""

from dataclasses import dataclass
from typing import Any

from mltrainer_common.database import Database
from sqlalchemy import Select, and_, func, or_, select, tuple_

from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.governance import (
    TAKEN_BACK,
    closest_policy,
    read_policy_change,
    read_promotion,
)
from mltrainer_registry.adapters.pages import page_of, read_cursor
from mltrainer_registry.adapters.rows import Row
from mltrainer_registry.application.paging import Page
from mltrainer_registry.domain.names import PolicyName, PromotionName
from mltrainer_registry.domain.policies import PolicyChange
from mltrainer_registry.domain.promotions import Promotion, PromotionState


@dataclass(frozen=True, slots=True)
class SqlGovernanceReader:
    """Reads committed state only."""

    database: Database

    async def policy(self, name: PolicyName) -> PolicyChange | None:
        """Returns the policy that holds for an alias."""
        async with self.database.snapshot() as connection:
            return await closest_policy(connection, name)

    async def policies(self, limit: int, cursor: str) -> Page[PolicyChange]:
        """Lists the newest policy of each name, by name."""
        table = tables.gate_policy_change
        newest = select(table.c.model, table.c.alias, func.max(table.c.number).label("number"))
        latest = newest.group_by(table.c.model, table.c.alias).subquery()
        same = and_(*(table.c[name] == latest.c[name] for name in ("model", "alias", "number")))
        statement = select(table).join(latest, same).where(table.c.conditions != TAKEN_BACK)
        key = read_cursor(cursor, "policies", (str, str))
        if key:
            statement = statement.where(tuple_(table.c.model, table.c.alias) > tuple_(*key))
        rows = await self._rows(statement.order_by(table.c.model, table.c.alias), limit)
        found = [read_policy_change(row) for row in rows]
        return page_of(found, limit, "policies", lambda one: (one.name.model, one.name.alias))

    async def policy_changes(self, name: PolicyName, limit: int, cursor: str) -> Page[PolicyChange]:
        """Lists the history of a policy, newest first."""
        table = tables.gate_policy_change
        statement = select(table).where(table.c.model == name.model, table.c.alias == name.alias)
        key = read_cursor(cursor, str(name), (int,))
        if key:
            statement = statement.where(table.c.number < key[0])
        rows = await self._rows(statement.order_by(table.c.number.desc()), limit)
        return page_of([read_policy_change(row) for row in rows], limit, str(name), lambda one: (one.number,))

    async def promotion(self, name: PromotionName) -> Promotion | None:
        """Returns a promotion."""
        table = tables.promotion
        here = and_(table.c.model == name.model, table.c.number == name.number)
        rows = await self._rows(select(table).where(here), 0)
        return read_promotion(rows[0]) if rows else None

    async def promotions(
        self, model: str | None, state: PromotionState | None, limit: int, cursor: str
    ) -> Page[Promotion]:
        """Lists the promotions of a model, or of all models by name, newest first."""
        table, query = tables.promotion, f"promotions {model} {state}"
        statement = select(table)
        if model is not None:
            statement = statement.where(table.c.model == model)
        if state is not None:
            statement = statement.where(table.c.state == state)
        key = read_cursor(cursor, query, (str, int))
        if key:
            older = and_(table.c.model == key[0], table.c.number < key[1])
            statement = statement.where(or_(table.c.model > key[0], older))
        rows = await self._rows(statement.order_by(table.c.model, table.c.number.desc()), limit)
        found = [read_promotion(row) for row in rows]
        return page_of(found, limit, query, lambda one: (one.name.model, one.name.number))

    async def _rows(self, statement: Select[Any], limit: int) -> list[Row]:
        async with self.database.snapshot() as connection:
            return list((await connection.execute(statement.limit(limit + 1))).all())
