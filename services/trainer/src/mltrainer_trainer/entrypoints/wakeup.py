"""Lets a loop wait for its next turn or for news, whichever comes first."""

import asyncio
from contextlib import suppress


class Wakeup:
    """Wakes one loop early."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Says that there is news."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Returns at news or after the time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout_s)
        self._event.clear()
