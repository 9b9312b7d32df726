"""Keeps artifact files in the content store, off the event loop."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from mltrainer_common.content_store import ContentNotFoundError, ContentStore, DigestMismatchError

from mltrainer_registry.domain.errors import ArtifactAlteredError, ArtifactDigestMismatchError
from mltrainer_registry.domain.manifests import ArtifactFile

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ContentArtifactStore:
    """Stores files by digest."""

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

    async def read(self, file: ArtifactFile) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of a file and verifies them."""
        pieces = self.store.stream(file.sha256, _PIECE_BYTES)
        try:
            while (piece := await asyncio.to_thread(_next_piece, pieces)) is not None:
                yield piece
        except (ContentNotFoundError, DigestMismatchError) as error:
            raise ArtifactAlteredError(file.sha256) from error


def _next_piece(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)
