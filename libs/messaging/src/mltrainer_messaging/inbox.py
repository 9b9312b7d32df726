"""Lets an event take effect once: its id is claimed in the transaction of the effect."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from mltrainer_common.clock import Clock
from mltrainer_common.database import Database, upsert
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_messaging.tables import inbox

# Topics keep events for seven days; a replayed dead letter may come a little later.
DEFAULT_RETENTION = timedelta(days=14)


class SqlInbox:
    """Claims event ids inside the caller's transaction."""

    def __init__(self, connection: AsyncConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def claim(self, event_id: str, consumer: str = "default") -> bool:
        """Tells whether this event is new to the consumer, and remembers it; False means: drop it."""
        return bool(await self.claim_all([event_id], consumer))

    async def claim_all(self, event_ids: Sequence[str], consumer: str = "default") -> set[str]:
        """Returns which of the ids are new to the consumer, and remembers all of them."""
        now = self._clock.now()
        rows = [{"consumer": consumer, "event_id": event_id, "claim_time": now} for event_id in event_ids]
        if not rows:
            return set()
        # The rows as parameters: a statement that holds them would be compiled anew for every number of them.
        insert = upsert(self._connection, inbox).on_conflict_do_nothing().returning(inbox.c.event_id)
        return set((await self._connection.execute(insert, rows)).scalars())


async def prune_inbox(database: Database, before: datetime) -> int:
    """Forgets claims made before a moment and returns how many."""
    async with database.transaction() as connection:
        result = await connection.execute(delete(inbox).where(inbox.c.claim_time < before))
    return result.rowcount
