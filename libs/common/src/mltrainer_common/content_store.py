"""Keeps immutable bytes under the SHA-256 of their content, in a directory or an object store."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


class ContentNotFoundError(Exception):
    """Nothing is stored under the digest."""


class DigestMismatchError(Exception):
    """Bytes do not have the digest they are expected or stored under."""


class InvalidDigestError(ValueError):
    """The text is not 64 lower-case hexadecimal digits."""


class ContentUpload:
    """Receives chunks; nothing is visible before `commit`."""

    def __init__(self, store: "ContentStore", spool: IO[bytes]) -> None:
        self._store = store
        self._spool = spool
        self._hash = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Appends a chunk."""
        self._hash.update(chunk)
        self._spool.write(chunk)

    def commit(self, expected_digest: str | None = None) -> str:
        """Stores the content durably and returns its digest.

        Raises:
            DigestMismatchError: The content is not what the caller expected; nothing is stored.
        """
        digest = self._hash.hexdigest()
        if expected_digest not in {None, digest}:
            raise DigestMismatchError(f"content has digest {digest}, not the expected {expected_digest}")
        self._spool.flush()
        os.fsync(self._spool.fileno())
        self._store._place(Path(self._spool.name), digest)  # noqa: SLF001 - the two classes are one mechanism
        return digest


class ContentStore:
    """Stores and returns content by digest; methods block: asynchronous callers use `asyncio.to_thread`.

    Layout: `<url>/sha256/<2 digits>/<digest>`. A path is only ever made from a validated digest.
    """

    def __init__(self, url: str) -> None:
        """Takes a directory or an fsspec URL such as `s3://bucket/prefix`."""
        self._files: Any
        self._files, self._root = url_to_fs(url)
        self._is_local = isinstance(self._files, LocalFileSystem)

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
        # In the store itself where it is a directory, so that the last step is a rename on one file system.
        folder = Path(self._root) / "incoming" if self._is_local else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as spool:
            try:
                yield ContentUpload(self, spool)
            finally:
                Path(spool.name).unlink(missing_ok=True)

    def read_bytes(self, digest: str) -> bytes:
        """Returns the content after verifying it.

        Raises:
            ContentNotFoundError: Nothing is stored under the digest.
            DigestMismatchError: What is stored was altered.
        """
        return b"".join(self.stream(digest))

    def stream(self, digest: str, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[bytes]:
        """Yields the content in chunks; DigestMismatchError after the last one tells of an alteration."""
        path, actual = self._path(digest), hashlib.sha256()
        try:
            with self._files.open(path, "rb") as file:
                while chunk := file.read(chunk_bytes):
                    actual.update(chunk)
                    yield chunk
        except FileNotFoundError as error:
            raise ContentNotFoundError(f"nothing is stored under {digest}") from error
        if actual.hexdigest() != digest:
            raise DigestMismatchError(f"{path} was altered: its content has digest {actual.hexdigest()}")

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
        return bool(self._files.exists(self._path(digest)))

    def size_bytes(self, digest: str) -> int:
        """Returns the length of the content."""
        try:
            return int(self._files.size(self._path(digest)))
        except FileNotFoundError as error:
            raise ContentNotFoundError(f"nothing is stored under {digest}") from error

    def delete(self, digest: str) -> None:
        """Removes the content; removing what is absent is no error."""
        path = self._path(digest)
        if self._files.exists(path):
            self._files.rm_file(path)

    def uri(self, digest: str) -> str:
        """Returns where the content lies, for messages to other services and people."""
        return str(self._files.unstrip_protocol(self._path(digest)))

    def _path(self, digest: str) -> str:
        if _DIGEST.fullmatch(digest) is None:
            raise InvalidDigestError(f"{digest[:80]!r} is not 64 lower-case hexadecimal digits")
        return f"{self._root}/sha256/{digest[:2]}/{digest}"

    def _place(self, spool: Path, digest: str) -> None:
        path = self._path(digest)
        if not self._is_local:
            if not self._files.exists(path):
                self._files.put_file(str(spool), path)
            return
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        spool.chmod(0o444)
        spool.replace(path)
        _sync_directory(folder)


def _sync_directory(folder: Path) -> None:
    # Without it a power loss may forget the rename although the bytes are safe.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
