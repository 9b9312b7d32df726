"""Knows the runs that this process executes, so that they can be aborted."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class AbortRequest:
    """Tells one run to end at once."""

    why: str = ""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class ActiveRuns:
    """Holds one abort request for each run under way."""

    _requests: dict[str, AbortRequest] = field(default_factory=dict)

    def __contains__(self, run: str) -> bool:
        """Tells whether this process executes a run."""
        return run in self._requests

    @contextmanager
    def entered(self, run: str) -> Iterator[AbortRequest]:
        """Holds a run as long as it is under way."""
        request = self._requests[run] = AbortRequest()
        try:
            yield request
        finally:
            del self._requests[run]
            request.ended.set()

    async def abort_all(self, why: str, timeout_s: float) -> list[str]:
        """Has every run end, waits for that no longer than the time, and returns which there were."""
        requests = dict(self._requests)
        for request in requests.values():
            request.why = why
            request.asked.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for request in requests.values():
                    await request.ended.wait()
        return list(requests)
