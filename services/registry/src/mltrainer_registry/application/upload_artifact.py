"""Takes the files of an attempt, verified against the digests they were announced with."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from mltrainer_registry.application.ports import (
    ArtifactStore,
    Clock,
    RegistryReader,
    UnitOfWork,
    UnitOfWorkFactory,
    UploadClaim,
)
from mltrainer_registry.domain.errors import (
    InvalidUploadError,
    StaleFencingTokenError,
    UploadExpiredError,
    UploadIncompleteError,
)
from mltrainer_registry.domain.manifests import ArtifactFile, Manifest, check_manifest
from mltrainer_registry.domain.uploads import PART_BYTES, HeldFile, PartCutter, UploadLimits, part_count

MAX_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class UploadArtifact:
    """Announces an upload; an empty `manifest_digest` is computed, an empty `model` has no quota."""

    training: str
    fencing_token: int
    files: tuple[ArtifactFile, ...]
    manifest_digest: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class FilePiece:
    """Some bytes of one file of the manifest; without an offset they follow the piece before."""

    file_index: int
    data: bytes
    offset_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class UploadArtifactHandler:
    """Stores an upload; nothing of it can be used before all of it is verified.

    The upload is claimed before a byte is stored, and claimed again by the transaction that completes it:
    what a crash leaves behind belongs to a claim that expires, and what a version refers to was there at its
    end.
    """

    unit_of_work: UnitOfWorkFactory
    reader: RegistryReader
    artifacts: ArtifactStore
    limits: UploadLimits
    clock: Clock

    async def __call__(self, command: UploadArtifact, pieces: AsyncIterator[FilePiece]) -> Manifest:
        """Returns the stored manifest; one that is stored already is answered before any byte is read.

        Raises:
            StaleFencingTokenError: A later attempt of the training holds the right to deliver.
            ModelQuotaExceededError: The model may not hold so much more.
            ArtifactDigestMismatchError: Bytes differ from what was announced.
            UploadIncompleteError: It ended early.
            UploadExpiredError: It took so long that its first files were given up.
        """
        manifest = check_upload(command, self.limits)
        check_token(command, await self.reader.lowest_token(command.training))
        if not await self._is_stored(command.training, manifest):
            await self._claim(command, manifest)
            await self._receive(command.training, manifest.files, pieces)
        await self._complete(command, manifest)
        return manifest

    async def _claim(self, command: UploadArtifact, manifest: Manifest) -> None:
        async with self.unit_of_work() as uow:
            await self._add_claim(uow, command, manifest)
            await uow.commit()

    async def _complete(self, command: UploadArtifact, manifest: Manifest) -> None:
        async with self.unit_of_work() as uow:
            await self._add_claim(uow, command, manifest)
            # Whoever collects garbage takes turns with this transaction: what is here now will stay.
            if not await self._holds_all(manifest):
                raise UploadExpiredError(command.training, manifest.digest)
            await uow.trainings.refuse_below(command.training, command.fencing_token)
            await uow.uploads.complete(command.training, manifest.digest)
            await uow.commit()

    async def _add_claim(self, uow: UnitOfWork, command: UploadArtifact, manifest: Manifest) -> None:
        check_token(command, await uow.trainings.lowest_token(command.training))
        # Uploads that name no model count together.
        used, added = await uow.uploads.usage(command.model, manifest.files)
        self.limits.check_model(command.model, used, added)
        claim = UploadClaim(command.training, manifest, command.model, self.clock.now())
        await uow.uploads.claim(claim)

    async def _is_stored(self, training: str, manifest: Manifest) -> bool:
        return await self.reader.is_uploaded(training, manifest.digest) and await self._holds_all(manifest)

    async def _holds_all(self, manifest: Manifest) -> bool:
        for file in manifest.files:
            if not await self.artifacts.holds(file):
                return False
        return True

    async def _receive(
        self, training: str, files: Sequence[ArtifactFile], pieces: AsyncIterator[FilePiece]
    ) -> None:
        stream = _FileByFile(files, pieces)
        for index, file in enumerate(files):
            own = stream.file(index)
            first = await anext(own, None)
            if first is None and await self.artifacts.holds(file):
                continue
            whole = _chain(first, own)
            if file.size_bytes <= PART_BYTES:
                await self.artifacts.receive(file, _in_order(file, whole))
            else:
                await self._receive_parts(training, file, whole)
        await stream.expect_end()

    async def _receive_parts(
        self, training: str, file: ArtifactFile, pieces: AsyncIterator[FilePiece]
    ) -> None:
        held = {part.number: part.sha256 for part in await self.artifacts.parts(training, file)}
        cutter = PartCutter(file)
        async for piece in pieces:
            for number, data in cutter.add(piece.offset_bytes, piece.data):
                held[number] = await self.artifacts.keep_part(
                    training, file, number, data, held.get(number, "")
                )
        cutter.finish()
        missing = [number for number in range(part_count(file.size_bytes)) if number not in held]
        if missing:
            raise UploadIncompleteError(file.path, missing[0], len(missing))
        await self.artifacts.join_parts(training, file, [held[number] for number in sorted(held)])


@dataclass(frozen=True, slots=True)
class GetUploadHandler:
    """Says what is stored of an upload, so that only the rest needs to be sent."""

    reader: RegistryReader
    artifacts: ArtifactStore
    limits: UploadLimits

    async def __call__(self, command: UploadArtifact) -> tuple[HeldFile, ...]:
        """Returns one entry per file; raises what an upload with the same header would."""
        manifest = check_upload(command, self.limits)
        check_token(command, await self.reader.lowest_token(command.training))
        return tuple([await self._held(command.training, file) for file in manifest.files])

    async def _held(self, training: str, file: ArtifactFile) -> HeldFile:
        if await self.artifacts.holds(file):
            return HeldFile(is_complete=True)
        if file.size_bytes <= PART_BYTES:
            return HeldFile(is_complete=False)
        return HeldFile(is_complete=False, parts=await self.artifacts.parts(training, file))


def check_upload(command: UploadArtifact, limits: UploadLimits) -> Manifest:
    """Returns the manifest of an upload within the limits."""
    manifest = check_manifest(command.files, command.manifest_digest)
    limits.check_files(manifest.files)
    return manifest


def check_token(command: UploadArtifact, lowest: int) -> None:
    """Raises StaleFencingTokenError where the attempt may not deliver."""
    if command.fencing_token < max(lowest, 1):
        raise StaleFencingTokenError(command.training, command.fencing_token, max(lowest, 1))


async def _chain(first: FilePiece | None, rest: AsyncIterator[FilePiece]) -> AsyncIterator[FilePiece]:
    if first is not None:
        yield first
    async for piece in rest:
        yield piece


async def _in_order(file: ArtifactFile, pieces: AsyncIterator[FilePiece]) -> AsyncIterator[bytes]:
    size_bytes = 0
    async for piece in pieces:
        if piece.offset_bytes not in {None, size_bytes}:
            raise InvalidUploadError(
                f"{file.path} has one part: a chunk of it cannot begin at {piece.offset_bytes}"
            )
        size_bytes += len(piece.data)
        if size_bytes > file.size_bytes:
            raise InvalidUploadError(f"{file.path} has more bytes than announced")
        yield piece.data
    if size_bytes < file.size_bytes:
        raise UploadIncompleteError(file.path, first_missing_part=0, missing_count=1)


class _FileByFile:
    """Splits one stream of pieces into the pieces of each file, in order."""

    def __init__(self, files: Sequence[ArtifactFile], pieces: AsyncIterator[FilePiece]) -> None:
        self._files = files
        self._pieces = pieces
        self._held: FilePiece | None = None

    async def file(self, index: int) -> AsyncIterator[FilePiece]:
        """Yields the pieces of one file; call it for every file in order."""
        while (piece := await self._next()) is not None:
            if index < piece.file_index < len(self._files):
                self._held = piece
                return
            if piece.file_index != index:
                raise InvalidUploadError(f"a chunk of file {piece.file_index} comes while file {index} does")
            if len(piece.data) > MAX_PIECE_BYTES:
                raise InvalidUploadError(
                    f"a chunk holds {len(piece.data)} bytes, more than {MAX_PIECE_BYTES}"
                )
            yield piece

    async def expect_end(self) -> None:
        """Raises InvalidUploadError when bytes follow the last file."""
        if (piece := await self._next()) is not None:
            raise InvalidUploadError(f"a chunk of file {piece.file_index} follows the last file")

    async def _next(self) -> FilePiece | None:
        if self._held is not None:
            piece, self._held = self._held, None
            return piece
        return await anext(self._pieces, None)
