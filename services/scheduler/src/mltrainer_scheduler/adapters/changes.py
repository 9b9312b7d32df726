"""Counts changes, and puts the transactions that make them one behind the other."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_scheduler.adapters.tables import cluster


class ChangeCounter:
    """Gives one transaction its number, greater than those of all that were committed before it.

    The row that it counts up stays locked until the end of the transaction. Numbers thus become visible in
    their order, and who reads what is above a number misses nothing.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._number: int | None = None

    async def number(self) -> int:
        """Returns the number; the first call of a transaction waits for the one before.

        Raises:
            DatabaseConflictError: On PostgreSQL, another one was committed since this one began to read.
        """
        if self._number is None:
            counted = update(cluster).values(revision=cluster.c.revision + 1).returning(cluster.c.revision)
            self._number = int((await self._connection.execute(counted)).scalar_one())
        return self._number

    async def last(self) -> int:
        """Returns the last number that was given."""
        return int((await self._connection.execute(select(cluster.c.revision))).scalar_one())

    def visible(self, revision: int) -> int:
        """Leaves this transaction's own number out: what it has not changed yet has to be read later."""
        return revision if self._number is None else self._number - 1
