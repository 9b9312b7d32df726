"""Keeps artifact files in the content store, off the event loop."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from mltrainer_common.content_store import (
    ContentNotFoundError,
    ContentStore,
    DigestMismatchError,
    StoredContent,
)

from mltrainer_registry.application.ports import StoredFile
from mltrainer_registry.domain.errors import ArtifactAlteredError, ArtifactDigestMismatchError
from mltrainer_registry.domain.manifests import ArtifactFile
from mltrainer_registry.domain.uploads import HeldPart

_PIECE_BYTES = 1 << 20
_BATCH = 500
_PARTS = "parts"
_PART = re.compile(r".*/(?P<number>\d{6})-(?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ContentArtifactStore:
    """Stores files by digest, and parts beside them: `parts/<training>-<file>/<number>-<part>`."""

    store: ContentStore

    async def receive(self, file: ArtifactFile, pieces: AsyncIterator[bytes]) -> None:
        """Stores a file whole or not at all."""
        with ExitStack() as stack:
            upload = await asyncio.to_thread(stack.enter_context, self.store.upload())
            async for piece in pieces:
                await asyncio.to_thread(upload.write, piece)
            try:
                await asyncio.to_thread(upload.commit, file.sha256)
            except DigestMismatchError as error:
                raise ArtifactDigestMismatchError(file.path, file.sha256) from error

    async def holds(self, file: ArtifactFile) -> bool:
        """Tells whether the file is stored with the announced size."""
        try:
            return await asyncio.to_thread(self.store.size_bytes, file.sha256) == file.size_bytes
        except ContentNotFoundError:
            return False

    async def read(self, file: ArtifactFile, offset_bytes: int = 0) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of a file, and verifies them where they begin at 0."""
        pieces = self.store.stream(file.sha256, _PIECE_BYTES, offset_bytes)
        try:
            while (piece := await asyncio.to_thread(_next_piece, pieces)) is not None:
                yield piece
        except (ContentNotFoundError, DigestMismatchError) as error:
            raise ArtifactAlteredError(file.sha256) from error

    async def parts(self, training: str, file: ArtifactFile) -> tuple[HeldPart, ...]:
        """Returns the stored parts of a file, by number."""
        files = await asyncio.to_thread(self.store.folder.files, _folder(training, file))
        matches = (_PART.fullmatch(part.name) for part in files)
        # Two of one number are left by a crash between storing the second and deleting the first.
        held = {int(match["number"]): match["sha256"] for match in matches if match}
        return tuple(HeldPart(number, held[number]) for number in sorted(held))

    async def keep_part(
        self, training: str, file: ArtifactFile, number: int, data: bytes, replaces: str
    ) -> str:
        """Stores a part durably, instead of the one with digest `replaces`, and returns its digest."""
        return await asyncio.to_thread(self._keep_part, _folder(training, file), number, data, replaces)

    def _keep_part(self, folder: str, number: int, data: bytes, replaces: str) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self.store.folder.write(_part_name(folder, number, sha256), data)
        if replaces not in {"", sha256}:
            self.store.folder.delete(_part_name(folder, number, replaces))
        return sha256

    async def join_parts(self, training: str, file: ArtifactFile, digests: Sequence[str]) -> None:
        """Stores a file from its parts, which are gone afterwards."""
        await asyncio.to_thread(self._join_parts, _folder(training, file), file, digests)

    def _join_parts(self, folder: str, file: ArtifactFile, digests: Sequence[str]) -> None:
        names = [_part_name(folder, number, sha256) for number, sha256 in enumerate(digests)]
        try:
            with self.store.upload() as upload:
                for name in names:
                    for piece in self.store.folder.read(name, _PIECE_BYTES):
                        upload.write(piece)
                upload.commit(file.sha256)
        except DigestMismatchError as error:
            self._drop(folder)
            raise ArtifactDigestMismatchError(file.path, file.sha256) from error
        self._drop(folder)

    async def batches(self) -> AsyncGenerator[Sequence[StoredFile], None]:
        """Yields everything stored, some at a time."""
        contents = self.store.contents()
        while batch := await asyncio.to_thread(_next_batch, contents):
            yield batch

    async def stored_time(self, sha256: str) -> datetime | None:
        """Tells since when a content is stored; None where it is gone."""
        try:
            return await asyncio.to_thread(self.store.stored_time, sha256)
        except ContentNotFoundError:
            return None

    async def delete(self, sha256: str) -> None:
        """Removes a content."""
        await asyncio.to_thread(self.store.delete, sha256)

    async def drop_abandoned(self, before: datetime, *, dry_run: bool) -> int:
        """Removes parts and spools from before a time and returns how many there were."""
        return await asyncio.to_thread(self._drop_abandoned, before, dry_run=dry_run)

    def _drop_abandoned(self, before: datetime, *, dry_run: bool) -> int:
        count = self.store.folder.drop_old_spools(before, dry_run=dry_run)
        for folder in self.store.folder.folders(_PARTS):
            names = [file.name for file in self.store.folder.files(folder)]
            # An upload that goes on has a young part; its others are needed as well.
            if any(self.store.folder.modified_time(name) >= before for name in names):
                continue
            count += len(names)
            if not dry_run:
                self._drop(folder)
        return count

    def _drop(self, folder: str) -> None:
        for file in self.store.folder.files(folder):
            self.store.folder.delete(file.name)
        with suppress(OSError):  # another upload of the same file goes on
            self.store.folder.remove_folder(folder)


def _folder(training: str, file: ArtifactFile) -> str:
    return f"{_PARTS}/{hashlib.sha256(training.encode()).hexdigest()[:16]}-{file.sha256}"


def _part_name(folder: str, number: int, sha256: str) -> str:
    return f"{folder}/{number:06d}-{sha256}"


def _next_piece(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


def _next_batch(contents: Iterator[StoredContent]) -> list[StoredFile]:
    return [StoredFile(content.digest, content.size_bytes) for content in islice(contents, _BATCH)]
