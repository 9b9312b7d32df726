"""Makes a read wait for what its caller has seen elsewhere."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.domain.errors import InvalidFieldError, RevisionNotReachedError

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class ReachRevisionHandler:
    """Returns once this replica knows a revision.

    `time_left_s` tells how long the caller still waits, None where that is not known; no wait is longer than
    `max_wait_s`.
    """

    follower: ChangeFollower
    time_left_s: Callable[[], float | None]
    max_wait_s: float

    async def __call__(self, revision: int) -> None:
        """Reads the log until it holds the revision; whoever learned of it elsewhere finds it at once.

        Raises:
            RevisionNotReachedError: It is not known before the deadline.
        """
        if revision < 0:
            raise InvalidFieldError("min_revision", f"is {revision}, below 0")
        if self.follower.revision >= revision:
            return
        left_s = self.time_left_s()
        wait_s = self.max_wait_s if left_s is None else min(left_s, self.max_wait_s)
        try:
            async with asyncio.timeout(wait_s):
                await self._chase(revision)
        except TimeoutError:
            raise RevisionNotReachedError(revision, self.follower.revision) from None

    async def _chase(self, revision: int) -> None:
        pause_s = _FIRST_PAUSE_S
        await self.follower.catch_up(revision)
        while not await self.follower.wait(revision - 1, pause_s):
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            await self.follower.catch_up(revision)
