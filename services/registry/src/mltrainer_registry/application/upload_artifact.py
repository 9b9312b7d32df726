"""Takes the files of an attempt, verified against the digests they were announced with."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from mltrainer_registry.application.ports import ArtifactStore, RegistryReader, UnitOfWorkFactory
from mltrainer_registry.domain.errors import InvalidUploadError, StaleFencingTokenError
from mltrainer_registry.domain.manifests import ArtifactFile, Manifest, check_manifest

MAX_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class UploadArtifact:
    """Announces an upload; an empty `manifest_digest` is computed."""

    training: str
    fencing_token: int
    files: tuple[ArtifactFile, ...]
    manifest_digest: str


@dataclass(frozen=True, slots=True)
class FilePiece:
    """Some bytes of one file of the manifest."""

    file_index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class UploadArtifactHandler:
    """Stores an upload; nothing of it can be used before all of it is verified."""

    unit_of_work: UnitOfWorkFactory
    reader: RegistryReader
    artifacts: ArtifactStore
    limit_bytes: int

    async def __call__(self, command: UploadArtifact, pieces: AsyncIterator[FilePiece]) -> Manifest:
        """Returns the stored manifest; one that is stored already is answered before any byte is read.

        Raises:
            StaleFencingTokenError: A later attempt of the training holds the right to deliver.
            ArtifactDigestMismatchError: Bytes differ from what was announced.
        """
        manifest = check_manifest(command.files, command.manifest_digest, self.limit_bytes)
        _check_token(command, await self.reader.lowest_token(command.training))
        if not await self._is_stored(command.training, manifest):
            await self._receive(manifest.files, pieces)
        async with self.unit_of_work() as uow:
            _check_token(command, await uow.trainings.lowest_token(command.training))
            await uow.trainings.refuse_below(command.training, command.fencing_token)
            await uow.trainings.add_manifest(command.training, manifest)
            await uow.commit()
        return manifest

    async def _is_stored(self, training: str, manifest: Manifest) -> bool:
        if not await self.reader.is_uploaded(training, manifest.digest):
            return False
        for file in manifest.files:
            if not await self.artifacts.holds(file):
                return False
        return True

    async def _receive(self, files: Sequence[ArtifactFile], pieces: AsyncIterator[FilePiece]) -> None:
        stream = _FileByFile(files, pieces)
        for index, file in enumerate(files):
            await self.artifacts.receive(file, stream.file(index))
        await stream.expect_end()


def _check_token(command: UploadArtifact, lowest: int) -> None:
    if command.fencing_token < max(lowest, 1):
        raise StaleFencingTokenError(command.training, command.fencing_token, max(lowest, 1))


class _FileByFile:
    """Splits one stream of pieces into the bytes of each file, in order."""

    def __init__(self, files: Sequence[ArtifactFile], pieces: AsyncIterator[FilePiece]) -> None:
        self._files = files
        self._pieces = pieces
        self._held: FilePiece | None = None

    async def file(self, index: int) -> AsyncIterator[bytes]:
        """Yields the bytes of one file; call it for every file in order."""
        size_bytes = 0
        while (piece := await self._next()) is not None:
            if index < piece.file_index < len(self._files):
                self._held = piece
                return
            size_bytes += len(piece.data)
            self._check(piece, index, size_bytes)
            yield piece.data

    async def expect_end(self) -> None:
        """Raises InvalidUploadError when bytes follow the last file."""
        if (piece := await self._next()) is not None:
            raise InvalidUploadError(f"a chunk of file {piece.file_index} follows the last file")

    def _check(self, piece: FilePiece, index: int, size_bytes: int) -> None:
        if piece.file_index != index:
            raise InvalidUploadError(f"a chunk of file {piece.file_index} comes while file {index} does")
        if len(piece.data) > MAX_PIECE_BYTES:
            raise InvalidUploadError(f"a chunk holds {len(piece.data)} bytes, more than {MAX_PIECE_BYTES}")
        if size_bytes > self._files[index].size_bytes:
            raise InvalidUploadError(f"{self._files[index].path} has more bytes than announced")

    async def _next(self) -> FilePiece | None:
        if self._held is not None:
            piece, self._held = self._held, None
            return piece
        return await anext(self._pieces, None)
