"""Cuts large files into parts, which outlive a cut upload, and says how much may be uploaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mltrainer_registry.domain.errors import (
    ArtifactTooLargeError,
    FileTooLargeError,
    InvalidUploadError,
    ModelQuotaExceededError,
)
from mltrainer_registry.domain.manifests import ArtifactFile

# What a cut costs at most; also what an upload holds in memory.
PART_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Largest file, largest version, and largest sum of the distinct contents of a model, in bytes."""

    file_bytes: int
    version_bytes: int
    model_bytes: int

    def check_files(self, files: Sequence[ArtifactFile]) -> None:
        """Raises FileTooLargeError or ArtifactTooLargeError."""
        for file in files:
            if file.size_bytes > self.file_bytes:
                raise FileTooLargeError(file.path, file.size_bytes, self.file_bytes)
        size_bytes = sum(file.size_bytes for file in files)
        if size_bytes > self.version_bytes:
            raise ArtifactTooLargeError(size_bytes, self.version_bytes)

    def check_model(self, model: str, used_bytes: int, added_bytes: int) -> None:
        """Raises ModelQuotaExceededError; an upload that adds nothing is always welcome."""
        if added_bytes and used_bytes + added_bytes > self.model_bytes:
            raise ModelQuotaExceededError(model, used_bytes, added_bytes, self.model_bytes)


@dataclass(frozen=True, slots=True)
class HeldPart:
    """A stored piece of a file that is not complete."""

    number: int
    sha256: str


@dataclass(frozen=True, slots=True)
class HeldFile:
    """What is stored of one file."""

    is_complete: bool
    parts: tuple[HeldPart, ...] = ()


def part_count(size_bytes: int) -> int:
    """Returns how many parts a file has."""
    return -(-size_bytes // PART_BYTES)


class PartCutter:
    """Turns pieces of a file into whole parts; a piece may leave out parts that are stored already."""

    def __init__(self, file: ArtifactFile) -> None:
        self._file = file
        self._next_byte = 0
        self._buffer = bytearray()

    def add(self, offset_bytes: int | None, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Takes a piece and yields the parts it completes.

        Raises:
            InvalidUploadError: The piece does not continue a part nor begin a later one, or exceeds the file.
        """
        self._seek(offset_bytes)
        self._next_byte += len(data)
        if self._next_byte > self._file.size_bytes:
            raise InvalidUploadError(f"{self._file.path} has more bytes than announced")
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            yield self._cut(PART_BYTES)
        if self._buffer and self._next_byte == self._file.size_bytes:
            yield self._cut(len(self._buffer))

    def finish(self) -> None:
        """Raises InvalidUploadError where the last part is not whole."""
        if self._buffer:
            raise InvalidUploadError(f"{self._file.path} ends within a part, at byte {self._next_byte}")

    def _seek(self, offset_bytes: int | None) -> None:
        if offset_bytes is None or offset_bytes == self._next_byte:
            return
        if self._buffer or offset_bytes < self._next_byte or offset_bytes % PART_BYTES:
            raise InvalidUploadError(
                f"a chunk of {self._file.path} begins at byte {offset_bytes}, which neither follows byte "
                f"{self._next_byte} nor begins a later part of {PART_BYTES} bytes"
            )
        self._next_byte = offset_bytes

    def _cut(self, size_bytes: int) -> tuple[int, bytes]:
        data = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return (self._next_byte - len(self._buffer) - size_bytes) // PART_BYTES, data
