"""Keeps the newest row of each symbol in memory, following what is committed."""

import asyncio

from mltrainer_feature.application.ports import UnitOfWorkFactory
from mltrainer_feature.domain.online import OnlineRow


class CachedOnlineRows:
    """Implements `OnlineRows`: only committed rows enter, whichever process wrote them."""

    def __init__(self, unit_of_work: UnitOfWorkFactory) -> None:
        self._unit_of_work = unit_of_work
        self._rows: dict[str, OnlineRow] = {}
        self._log_revision = -1
        self._lock = asyncio.Lock()

    def get(self, symbol: str) -> OnlineRow | None:
        """Returns the row of a symbol."""
        return self._rows.get(symbol)

    async def refresh(self) -> None:
        """Takes over what has been committed since the last time."""
        async with self._lock:
            async with self._unit_of_work.snapshot() as stored:
                rows, self._log_revision = await stored.rows.online_rows(self._log_revision)
            self._rows.update({row.symbol: row for row in rows})
