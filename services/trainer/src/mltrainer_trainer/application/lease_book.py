"""How long allocations hold, by a clock that nobody sets."""

import time
from collections.abc import Callable, Collection


class LeaseBook:
    """Keeps what the scheduler last answered; after a restart it knows nothing until it has asked again."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._expire_s: dict[str, float] = {}

    def prolong(self, allocations: Collection[str], lease_s: float) -> None:
        """Notes that allocations hold for so long from now."""
        self._expire_s.update(dict.fromkeys(allocations, self._monotonic() + lease_s))

    def left_s(self, allocation: str) -> float:
        """Returns how long an allocation still holds; 0 where it has lapsed or nothing is known."""
        return max(0.0, self._expire_s.get(allocation, 0.0) - self._monotonic())

    def keep_only(self, allocations: Collection[str]) -> None:
        """Forgets all others."""
        for gone in self._expire_s.keys() - set(allocations):
            del self._expire_s[gone]
