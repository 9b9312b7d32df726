"""Answers questions from a read-only view."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mltrainer_common.database import Database
from sqlalchemy import Column, ColumnElement, and_, or_, select, true

from mltrainer_cost_optimizer.adapters import tables
from mltrainer_cost_optimizer.adapters.ledger import read_rates
from mltrainer_cost_optimizer.adapters.rows import read_account, read_finding, read_rate
from mltrainer_cost_optimizer.application.ports import Position
from mltrainer_cost_optimizer.domain.account import Billable
from mltrainer_cost_optimizer.domain.bill import Period
from mltrainer_cost_optimizer.domain.money import Rate
from mltrainer_cost_optimizer.domain.waste import WasteFinding


@dataclass(frozen=True, slots=True)
class SqlLedgerReader:
    """Reads bills, charges and findings."""

    database: Database

    async def billables(self, period: Period, study: str) -> Sequence[Billable]:
        """Returns the allocations held within a period, of one study or of all."""
        table, rate = tables.allocation, tables.rate
        inside = and_(
            table.c.start_time < period.end_time,
            or_(table.c.end_time.is_(None), table.c.end_time > period.start_time),
            table.c.study == study if study else true(),
        )
        priced = select(rate).join(table, table.c.name == rate.c.allocation).where(inside)
        rates: dict[str, list[Rate]] = defaultdict(list)
        async with self.database.snapshot() as connection:
            for row in await connection.execute(priced.order_by(rate.c.charge_id)):
                rates[row.allocation].append(read_rate(row))
            rows = (await connection.execute(select(table).where(inside))).all()
        return _billables(rows, rates)

    async def rates(self, after: Position | None, limit: int) -> Sequence[tuple[str, Billable, Rate]]:
        """Lists charge ids with what they are made of, latest start first."""
        table, allocation = tables.rate, tables.allocation
        page = select(table).where(_after(table.c.start_time, table.c.charge_id, after))
        page = page.order_by(table.c.start_time.desc(), table.c.charge_id.desc()).limit(limit)
        async with self.database.snapshot() as connection:
            rows = (await connection.execute(page)).all()
            names = {row.allocation for row in rows}
            accounts = (
                await connection.execute(select(allocation).where(allocation.c.name.in_(names)))
            ).all()
            rates = await read_rates(connection, names)
        by_name = {one.account.allocation: one for one in _billables(accounts, rates)}
        return [(row.charge_id, by_name[row.allocation], read_rate(row)) for row in rows]

    async def waste(self, after: Position | None, limit: int) -> Sequence[WasteFinding]:
        """Lists findings, newest first."""
        table = tables.waste_finding
        page = select(table).where(_after(table.c.create_time, table.c.id, after))
        page = page.order_by(table.c.create_time.desc(), table.c.id.desc()).limit(limit)
        async with self.database.snapshot() as connection:
            return [read_finding(row) for row in await connection.execute(page)]


def _billables(rows: Sequence[Any], rates: Any) -> list[Billable]:
    found = (Billable.of(read_account(row, rates[row.name])) for row in rows)
    return [billable for billable in found if billable is not None]


def _after(time: Column[Any], name: Column[Any], position: Position | None) -> ColumnElement[bool]:
    if position is None:
        return true()
    return or_(time < position.time, and_(time == position.time, name < position.name))
