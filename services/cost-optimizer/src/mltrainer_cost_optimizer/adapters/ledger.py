"""Keeps the ledger inside the transaction of a unit of work."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mltrainer_common.database import upsert
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_cost_optimizer.adapters import tables
from mltrainer_cost_optimizer.adapters.rows import (
    account_row,
    finding_row,
    rate_rows,
    read_account,
    read_finding,
    read_rate,
)
from mltrainer_cost_optimizer.domain.account import Account
from mltrainer_cost_optimizer.domain.money import Rate
from mltrainer_cost_optimizer.domain.waste import WasteFinding


@dataclass(frozen=True, slots=True)
class SqlLedger:
    """Keeps accounts, rates and findings."""

    connection: AsyncConnection

    async def advance(self) -> int:
        """Returns the next revision and holds its row, so that writers take turns on every database."""
        table = tables.ledger
        statement = update(table).values(revision=table.c.revision + 1).returning(table.c.revision)
        return int((await self.connection.execute(statement)).scalar_one())

    async def load(self, allocations: Collection[str]) -> Mapping[str, Account]:
        """Returns the accounts that exist."""
        table = tables.allocation
        rows = (await self.connection.execute(select(table).where(table.c.name.in_(allocations)))).all()
        rates = await read_rates(self.connection, [row.name for row in rows])
        return {row.name: read_account(row, rates[row.name]) for row in rows}

    async def save(self, accounts: Iterable[Account]) -> None:
        """Adds or replaces accounts; rates once written stay as they are."""
        saved = list(accounts)
        table = tables.allocation
        row = upsert(self.connection, table)
        others = [column.name for column in table.c if not column.primary_key]
        changed = row.on_conflict_do_update(
            index_elements=[table.c.name], set_={name: row.excluded[name] for name in others}
        )
        await self.connection.execute(changed, [account_row(account) for account in saved])
        if rows := [row for account in saved for row in rate_rows(account)]:
            unchanged = upsert(self.connection, tables.rate).on_conflict_do_nothing()
            await self.connection.execute(unchanged, rows)

    async def findings(self, allocations: Collection[str]) -> Sequence[WasteFinding]:
        """Returns what was found about allocations."""
        table = tables.waste_finding
        rows = await self.connection.execute(select(table).where(table.c.resource.in_(allocations)))
        return [read_finding(row) for row in rows]

    async def add_findings(self, findings: Sequence[WasteFinding]) -> None:
        """Adds findings."""
        if findings:
            rows = [finding_row(finding) for finding in findings]
            await self.connection.execute(insert(tables.waste_finding), rows)


async def read_rates(connection: AsyncConnection, allocations: Collection[str]) -> Mapping[str, list[Rate]]:
    """Returns the rates of allocations, in the order of their charges."""
    table = tables.rate
    statement = select(table).where(table.c.allocation.in_(allocations)).order_by(table.c.charge_id)
    rates: dict[str, list[Rate]] = defaultdict(list)
    for row in await connection.execute(statement):
        rates[row.allocation].append(read_rate(row))
    return rates
