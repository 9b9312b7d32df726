"""Lets a request wake the background work it has left behind."""

import asyncio


class Wakeup:
    """Wakes one waiter at once; without a call it wakes by itself, for work that another process left."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Says that there is work."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Returns at the next notification, or after the time."""
        try:
            _ = await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return
        self._event.clear()
