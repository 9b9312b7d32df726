"""Deletes stored content that nothing refers to any more."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mltrainer_registry.application.ports import (
    ArtifactStore,
    Clock,
    RegistryReader,
    StoredFile,
    UnitOfWorkFactory,
)
from mltrainer_registry.domain.errors import InvalidFieldError

_UPLOADS_PER_TURN = 200
_SHOWN_DIGESTS = 1_000


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """What a collection has found, and deleted unless it was only to look."""

    scanned_count: int = 0
    garbage_count: int = 0
    garbage_bytes: int = 0
    expired_upload_count: int = 0
    abandoned_part_count: int = 0
    digests: tuple[str, ...] = ()

    def with_garbage(self, files: Sequence[StoredFile]) -> "GarbageReport":
        """Adds some files."""
        shown = (*self.digests, *(file.sha256 for file in files))[:_SHOWN_DIGESTS]
        return replace(
            self,
            garbage_count=self.garbage_count + len(files),
            garbage_bytes=self.garbage_bytes + sum(file.size_bytes for file in files),
            digests=shown,
        )


@dataclass(frozen=True, slots=True)
class CollectGarbageHandler:
    """Gives up old uploads without a version, then deletes what no upload claims.

    An upload claims its files in a transaction before it looks whether they are stored, and the files of a
    version are claimed for good. Files are deleted inside a write transaction that has just seen that nobody
    claims them: writers take turns, so a claim either comes before and keeps its files, or after and finds
    that they are gone.
    """

    unit_of_work: UnitOfWorkFactory
    reader: RegistryReader
    artifacts: ArtifactStore
    clock: Clock
    grace: timedelta
    least_grace: timedelta

    async def __call__(self, *, dry_run: bool, grace: timedelta | None = None) -> GarbageReport:
        """Returns what was found.

        Raises:
            InvalidFieldError: The grace period is below its lower limit.
        """
        grace = self.grace if grace is None else grace
        if grace < self.least_grace:
            limit_s = self.least_grace.total_seconds()
            raise InvalidFieldError("grace", f"is {grace.total_seconds():g} s, less than {limit_s:g} s")
        before = self.clock.now() - grace
        expired, freed = await self._expire(before, dry_run=dry_run)
        report = GarbageReport(expired_upload_count=expired)
        async for batch in self.artifacts.batches():
            report = replace(report, scanned_count=report.scanned_count + len(batch))
            report = report.with_garbage(await self._collect(batch, before, freed, dry_run=dry_run))
        parts = await self.artifacts.drop_abandoned(before, dry_run=dry_run)
        return replace(report, abandoned_part_count=parts)

    async def _expire(self, before: datetime, *, dry_run: bool) -> tuple[int, frozenset[str]]:
        count, freed = 0, frozenset[str]()
        while True:
            async with self.unit_of_work() as uow:
                expired = await uow.uploads.expire(before, 10**9 if dry_run else _UPLOADS_PER_TURN)
                if not dry_run:
                    await uow.commit()
            count, freed = count + expired.upload_count, freed | expired.freed
            if dry_run or not expired.seen_count:
                return count, freed

    async def _collect(
        self, batch: Sequence[StoredFile], before: datetime, freed: frozenset[str], *, dry_run: bool
    ) -> Sequence[StoredFile]:
        suspects = await self._unclaimed(batch, freed if dry_run else frozenset())
        old = [file for file in suspects if await self._is_old(file, before)]
        if dry_run or not old:
            return old
        async with self.unit_of_work() as uow:
            claimed = await uow.uploads.claimed([file.sha256 for file in old])
            garbage = [file for file in old if file.sha256 not in claimed]
            for file in garbage:
                await self.artifacts.delete(file.sha256)
        return garbage

    async def _unclaimed(self, batch: Sequence[StoredFile], freed: frozenset[str]) -> list[StoredFile]:
        claimed = await self.reader.claimed([file.sha256 for file in batch])
        return [file for file in batch if file.sha256 not in claimed or file.sha256 in freed]

    async def _is_old(self, file: StoredFile, before: datetime) -> bool:
        stored_time = await self.artifacts.stored_time(file.sha256)
        return stored_time is not None and stored_time < before
