"""Keeps what is asked most in memory, fed by the change log alone."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence

from mltrainer_registry.application.ports import ChangeReader, RegistryReader
from mltrainer_registry.domain.aliases import Alias
from mltrainer_registry.domain.changes import LoggedChange, Progress
from mltrainer_registry.domain.errors import (
    AliasNotFoundError,
    RevisionPrunedError,
    VersionNotFoundError,
    WatcherTooSlowError,
)
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.versions import ModelVersion

_BATCH = 500
_CACHED_VERSIONS = 2_048


class ChangeFollower:
    """Holds every alias, the versions asked for lately and the latest changes.

    Reads the log from where it stands, in order, whoever asks for it: so the map, the watchers and other
    replicas see the same changes in the same order.
    """

    def __init__(self, log: ChangeReader, reader: RegistryReader, buffered_changes: int = 1_024) -> None:
        self._log = log
        self._reader = reader
        self._aliases: dict[AliasName, Alias] = {}
        self._versions: OrderedDict[VersionName, ModelVersion] = OrderedDict()
        self._recent: deque[LoggedChange] = deque(maxlen=buffered_changes)
        self._turn = asyncio.Lock()
        self._advanced = asyncio.Event()
        self._revision = 0

    @property
    def revision(self) -> int:
        """Returns the revision of what is held."""
        return self._revision

    async def load(self) -> None:
        """Reads all aliases; what changes later comes from the log."""
        self._revision, aliases = await self._log.aliases()
        self._aliases = {alias.name: alias for alias in aliases}

    async def poll(self) -> None:
        """Applies what the log holds; one small read where that is nothing."""
        await self.catch_up(await self._log.revision())

    async def catch_up(self, revision: int | None = None) -> None:
        """Applies what the log holds; returns at once when the revision is reached already."""
        if revision is not None and self._revision >= revision:
            return
        async with self._turn:
            while revision is None or self._revision < revision:
                try:
                    changes = await self._log.changes(self._revision, _BATCH)
                except RevisionPrunedError:
                    # Nobody has followed the log for longer than it is kept: watchers must begin anew.
                    self._recent.clear()
                    self._versions.clear()
                    await self.load()
                    self._wake()
                    continue
                self._apply(changes)
                if len(changes) < _BATCH:
                    return

    async def follow(self, progress: Progress) -> None:
        """Applies what this process has committed: from memory, unless others have committed in between."""
        async with self._turn:
            if progress.changes and progress.first_revision == self._revision + 1:
                self._apply(progress.changes)
        await self.catch_up(progress.last_revision)

    def alias(self, name: AliasName) -> Alias:
        """Returns where an alias points, without asking the database.

        Raises:
            AliasNotFoundError: It points nowhere.
        """
        alias = self._aliases.get(name)
        if alias is None:
            raise AliasNotFoundError(str(name))
        return alias

    async def version(self, name: VersionName) -> ModelVersion:
        """Returns a version, asking the database the first time.

        Raises:
            VersionNotFoundError: It does not exist.
        """
        held = self._versions.get(name)
        if held is not None:
            self._versions.move_to_end(name)
            return held
        read_at = self._revision
        version = await self._reader.version(name)
        if version is None:
            raise VersionNotFoundError(str(name))
        # A change applied meanwhile may be newer than what was read: then the next caller reads again.
        if read_at == self._revision:
            self._hold(version)
        return version

    def changes_after(self, revision: int) -> Sequence[LoggedChange]:
        """Returns the buffered changes after a revision.

        Raises:
            WatcherTooSlowError: The buffer no longer holds all of them.
        """
        missed = self._revision - revision
        if missed > len(self._recent):
            raise WatcherTooSlowError(revision)
        return [change for change in self._recent if change.revision > revision]

    async def wait(self, revision: int, timeout_s: float) -> bool:
        """Returns True as soon as something is held beyond a revision, False after the time."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._revision <= revision:
                    await self._advanced.wait()
        except TimeoutError:
            return False
        return True

    def _apply(self, changes: Sequence[LoggedChange]) -> None:
        if not changes:
            return
        for change in changes:
            match change.resource:
                case Alias() as alias:
                    self._aliases[alias.name] = alias
                case ModelVersion() as version:
                    self._hold(version)
            self._recent.append(change)
        self._revision = changes[-1].revision
        self._wake()

    def _wake(self) -> None:
        # Everybody who waits holds this event; those who come later wait for the next one.
        self._advanced.set()
        self._advanced = asyncio.Event()

    def _hold(self, version: ModelVersion) -> None:
        self._versions[version.name] = version
        self._versions.move_to_end(version.name)
        if len(self._versions) > _CACHED_VERSIONS:
            self._versions.popitem(last=False)
