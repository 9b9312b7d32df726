"""Streams changes: first what a watcher has missed, then everything as it happens."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.application.ports import ChangeReader
from mltrainer_registry.domain.changes import LoggedChange
from mltrainer_registry.domain.errors import RevisionPrunedError, TooManyWatchersError

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Says that everything up to a revision was sent."""

    revision: int


@dataclass(slots=True)
class WatchModelsHandler:
    """Lists, then watches.

    The present state is sent as the changes that were not overtaken, in the order of their revisions: a
    watcher that is cut off in the middle resumes from the last revision it has seen and misses nothing.
    """

    follower: ChangeFollower
    log: ChangeReader
    heartbeat_s: float
    limit: int
    _watchers: int = field(default=0, init=False)

    async def __call__(self, from_revision: int) -> AsyncGenerator[LoggedChange | Bookmark, None]:
        """Yields changes after a revision and a bookmark whenever all of them were sent.

        Raises:
            TooManyWatchersError: This process follows no more watchers.
            WatcherTooSlowError: The watcher reads more slowly than changes happen.
        """
        with self._counted():
            await self.follower.catch_up()
            up_to = self.follower.revision
            is_new = from_revision <= 0 or from_revision > up_to or await self._is_pruned(from_revision)
            seen = 0 if is_new else from_revision
            while changes := await self._missed(seen, up_to, is_new=is_new):
                for change in changes:
                    if change.resource is not None:
                        yield change
                seen = changes[-1].revision
            seen = up_to
            yield Bookmark(seen)
            while True:
                if await self.follower.wait(seen, self.heartbeat_s):
                    for change in self.follower.changes_after(seen):
                        seen = change.revision
                        if change.resource is not None:
                            yield change
                else:
                    yield Bookmark(seen)

    async def _is_pruned(self, revision: int) -> bool:
        try:
            _ = await self.log.changes(revision, 1)
        except RevisionPrunedError:
            return True
        return False

    async def _missed(self, seen: int, up_to: int, *, is_new: bool) -> Sequence[LoggedChange]:
        if seen >= up_to:
            return []
        if is_new:
            return await self.log.present_state(seen, up_to, _PAGE)
        changes = await self.log.changes(seen, _PAGE)
        return [change for change in changes if change.revision <= up_to]

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._watchers >= self.limit:
            raise TooManyWatchersError(self.limit)
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
