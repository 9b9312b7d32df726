"""Remembers what a consumer has begun, so that an event that kills its process is found.

A row is written before the handlers of a batch run: "offsets 100 to 599 are in flight". Whoever starts after
a crash finds that range unfinished and takes its events one at a time, counting each before its handler. Only
an event that was running at five deaths of the process is given up; its neighbours are counted again only
when a death hits exactly them.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from mltrainer_common.database import Database, upsert
from sqlalchemy import select

from mltrainer_messaging.tables import in_flight

_NONE = -1


@dataclass(frozen=True, slots=True)
class InFlight:
    """Holds the range of offsets a partition has begun, and how often its careful event was begun."""

    first_offset: int
    last_offset: int
    careful_offset: int = _NONE
    attempts: int = 0

    def begin(self, offset: int) -> "InFlight":
        """Counts the start of one event; those before the careful one have already proven harmless."""
        if offset < self.careful_offset:
            return self
        attempts = self.attempts + 1 if offset == self.careful_offset else 1
        return replace(self, careful_offset=offset, attempts=attempts)

    def attempts_of(self, offset: int) -> int:
        """Returns how often an event was begun, as far as it matters."""
        return self.attempts if offset == self.careful_offset else 1


class ProgressStore(Protocol):
    """Keeps the range in flight of each partition."""

    async def load(self, topic: str, partition: int) -> InFlight | None:
        """Returns the newest range that was begun."""
        ...

    async def save(self, topic: str, partition: int, progress: InFlight) -> None:
        """Stores the range durably, replacing the older one."""
        ...


class NoProgress:
    """Remembers nothing; for processes without a database."""

    async def load(self, topic: str, partition: int) -> InFlight | None:  # noqa: ARG002 - the signature is the port's
        """Knows of no range."""
        return None

    async def save(self, topic: str, partition: int, progress: InFlight) -> None:
        """Forgets the range at once."""


@dataclass(frozen=True, slots=True)
class SqlProgress:
    """Keeps one row per consumer and partition."""

    database: Database
    consumer: str

    async def load(self, topic: str, partition: int) -> InFlight | None:
        """Returns the newest range that was begun."""
        table = in_flight.c
        query = select(table.first_offset, table.last_offset, table.careful_offset, table.attempts).where(
            table.consumer == self.consumer, table.topic == topic, table.partition == partition
        )
        async with self.database.snapshot() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else InFlight(*row)

    async def save(self, topic: str, partition: int, progress: InFlight) -> None:
        """Stores the range durably, replacing the older one."""
        values = {
            "first_offset": progress.first_offset,
            "last_offset": progress.last_offset,
            "careful_offset": progress.careful_offset,
            "attempts": progress.attempts,
        }
        key = {"consumer": self.consumer, "topic": topic, "partition": partition}
        async with self.database.transaction() as connection:
            insert = upsert(connection, in_flight).values(**key, **values)
            await connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=values))
