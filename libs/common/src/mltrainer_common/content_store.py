"""Keeps immutable bytes under the SHA-256 of their content, in a directory or an object store."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from mltrainer_common.object_folder import ObjectFolder

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20
_CONTENT = "sha256"


class ContentNotFoundError(Exception):
    """Nothing is stored under the digest."""


class DigestMismatchError(Exception):
    """Bytes do not have the digest they are expected or stored under."""


class InvalidDigestError(ValueError):
    """The text is not 64 lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What a listing tells of one content."""

    digest: str
    size_bytes: int


class ContentUpload:
    """Receives chunks; nothing is visible before `commit`."""

    def __init__(self, store: "ContentStore", spool: IO[bytes]) -> None:
        self._store = store
        self._spool = spool
        self._hash = hashlib.sha256()
        self._size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Appends a chunk."""
        self._hash.update(chunk)
        self._size_bytes += len(chunk)
        self._spool.write(chunk)

    def commit(self, expected_digest: str | None = None) -> str:
        """Stores the content durably and returns its digest.

        Raises:
            DigestMismatchError: The content is not what the caller expected; nothing is stored.
        """
        digest = self._hash.hexdigest()
        if expected_digest not in {None, digest}:
            raise DigestMismatchError(f"content has digest {digest}, not the expected {expected_digest}")
        self._store._place(self._spool, digest, self._size_bytes)  # noqa: SLF001 - the two classes are one mechanism
        return digest


class ContentStore:
    """Stores and returns content by digest; methods block: asynchronous callers use `asyncio.to_thread`.

    Layout: `<url>/sha256/<2 digits>/<digest>`. A path is only ever made from a validated digest.
    """

    def __init__(self, url: str) -> None:
        """Takes a directory or a URL such as `s3://bucket/prefix`."""
        self.folder = ObjectFolder(url)

    def put_bytes(self, content: bytes, expected_digest: str | None = None) -> str:
        """Stores content and returns its digest; storing the same again is free."""
        return self.put_stream([content], expected_digest)

    def put_stream(self, chunks: Iterable[bytes], expected_digest: str | None = None) -> str:
        """Stores a stream and returns its digest."""
        with self.upload() as upload:
            for chunk in chunks:
                upload.write(chunk)
            return upload.commit(expected_digest)

    @contextmanager
    def upload(self) -> Iterator[ContentUpload]:
        """Opens an upload that is discarded unless committed."""
        with self.folder.spool() as spool:
            yield ContentUpload(self, spool)

    def read_bytes(self, digest: str) -> bytes:
        """Returns the content after verifying it.

        Raises:
            ContentNotFoundError: Nothing is stored under the digest.
            DigestMismatchError: What is stored was altered.
        """
        return b"".join(self.stream(digest))

    def stream(self, digest: str, chunk_bytes: int = _CHUNK_BYTES, offset_bytes: int = 0) -> Iterator[bytes]:
        """Yields the content in chunks; DigestMismatchError after the last one tells of an alteration.

        What begins at an offset cannot be verified here: its reader holds the rest and verifies the whole.
        """
        name, actual = _name(digest), hashlib.sha256()
        try:
            for chunk in self.folder.read(name, chunk_bytes, offset_bytes):
                if not offset_bytes:
                    actual.update(chunk)
                yield chunk
        except FileNotFoundError as error:
            raise ContentNotFoundError(f"nothing is stored under {digest}") from error
        if not offset_bytes and actual.hexdigest() != digest:
            raise DigestMismatchError(
                f"{self.uri(digest)} was altered: its content has digest {actual.hexdigest()}"
            )

    def fetch(self, digest: str, destination: Path) -> None:
        """Writes the verified content to a local file, whole or not at all."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=destination.parent, delete=False) as target:
            try:
                for chunk in self.stream(digest):
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
                Path(target.name).replace(destination)
            finally:
                Path(target.name).unlink(missing_ok=True)

    def exists(self, digest: str) -> bool:
        """Tells whether something is stored under the digest."""
        return self.folder.exists(_name(digest))

    def size_bytes(self, digest: str) -> int:
        """Returns the length of the content."""
        try:
            return self.folder.size_bytes(_name(digest))
        except FileNotFoundError as error:
            raise ContentNotFoundError(f"nothing is stored under {digest}") from error

    def stored_time(self, digest: str) -> datetime:
        """Tells since when the content lies here."""
        try:
            return self.folder.modified_time(_name(digest))
        except FileNotFoundError as error:
            raise ContentNotFoundError(f"nothing is stored under {digest}") from error

    def contents(self) -> Iterator[StoredContent]:
        """Yields everything stored, in order; holds a 256th of it in memory at a time."""
        for folder in self.folder.folders(_CONTENT):
            for file in self.folder.files(folder):
                digest = file.name.rpartition("/")[2]
                if _DIGEST.fullmatch(digest):
                    yield StoredContent(digest, file.size_bytes)

    def delete(self, digest: str) -> None:
        """Removes the content; removing what is absent is no error."""
        self.folder.delete(_name(digest))

    def uri(self, digest: str) -> str:
        """Returns where the content lies, for messages to other services and people."""
        return self.folder.uri(_name(digest))

    def _place(self, spool: IO[bytes], digest: str, size_bytes: int) -> None:
        # A rename is cheap and heals a damaged copy; sending the bytes again is not.
        if not self.folder.is_local and self._holds(digest, size_bytes):
            return
        self.folder.place(spool, _name(digest))

    def _holds(self, digest: str, size_bytes: int) -> bool:
        try:
            return self.size_bytes(digest) == size_bytes
        except ContentNotFoundError:
            return False


def _name(digest: str) -> str:
    if _DIGEST.fullmatch(digest) is None:
        raise InvalidDigestError(f"{digest[:80]!r} is not 64 lower-case hexadecimal digits")
    return f"{_CONTENT}/{digest[:2]}/{digest}"
