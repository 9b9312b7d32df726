"""Counts changes, and puts the transactions that make them one behind the other."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_scheduler.adapters.own_commits import OwnCommits, Written
from mltrainer_scheduler.adapters.tables import cluster
from mltrainer_scheduler.domain.facts import Delta

_COUNTED = update(cluster).values(revision=cluster.c.revision + 1).returning(cluster.c.revision)
_LAST = select(cluster.c.revision)


@cache
def _counted_with(columns: tuple[ColumnElement[Any], ...]) -> Any:
    return _COUNTED.returning(*columns)


class ChangeCounter:
    """Gives one transaction its number, greater than those of all that were committed before it.

    The row that it counts up stays locked until the end of the transaction. Numbers thus become visible in
    their order, and who reads what is above a number misses nothing. `written` is what it has changed so far.
    """

    def __init__(self, connection: AsyncConnection, own: OwnCommits) -> None:
        self._connection = connection
        self._own = own
        self.written = Written()

    async def number(self) -> int:
        """Returns the number; the first call of a transaction waits for the one before.

        Raises:
            DatabaseConflictError: On PostgreSQL, another one was committed since this one began to read.
        """
        if self.written.number is None:
            self.written.number = int((await self._connection.execute(_COUNTED)).scalar_one())
        return self.written.number

    async def number_and(self, *columns: ColumnElement[Any], parameters: Mapping[str, Any]) -> Any:
        """Returns the row of the number and of other values, as of its giving; it must be the first call."""
        assert self.written.number is None
        row = (await self._connection.execute(_counted_with(columns), parameters)).one()
        self.written.number = int(row.revision)
        return row

    async def last(self) -> int:
        """Returns the last number that was given."""
        return int((await self._connection.execute(_LAST)).scalar_one())

    def visible(self, revision: int) -> int:
        """Leaves this transaction's own number out: what it has not changed yet has to be read later."""
        return revision if self.written.number is None else self.written.number - 1

    async def own_changes(self, since: int) -> list[Delta] | None:
        """Returns what was committed since, if this process did all of it; leaves this transaction out."""
        if since < 0:
            return None
        number = self.written.number
        return self._own.between(since, await self.last() if number is None else number - 1)

    def committed(self) -> None:
        """Says that what was written is durable."""
        self._own.add(self.written)
