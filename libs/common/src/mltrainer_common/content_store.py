"""Keeps immutable bytes under the SHA-256 of their content, in a directory or an object store."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class ContentNotFoundError(Exception):
    """Nothing is stored under the digest."""


class DigestMismatchError(Exception):
    """Bytes do not have the digest they are expected or stored under."""


class InvalidDigestError(ValueError):
    """The text is not 64 lower-case hexadecimal digits."""


class ContentUpload:
    """Receives chunks; nothing is visible before `commit`."""

    def write(self, chunk: bytes) -> None:
        """Appends a chunk."""
        raise NotImplementedError

    def commit(self, expected_digest: str | None = None) -> str:
        """Stores the content durably and returns its digest.

        Raises:
            DigestMismatchError: The content is not what the caller expected; nothing is stored.
        """
        raise NotImplementedError


class ContentStore:
    """Stores and returns content by digest; the methods block, so asynchronous callers use `asyncio.to_thread`."""

    def __init__(self, url: str) -> None:
        """Takes a directory or an fsspec URL such as `s3://bucket/prefix`."""
        raise NotImplementedError

    def put_bytes(self, content: bytes, expected_digest: str | None = None) -> str:
        """Stores content and returns its digest; storing the same again is free."""
        raise NotImplementedError

    def put_stream(self, chunks: Iterable[bytes], expected_digest: str | None = None) -> str:
        """Stores a stream and returns its digest."""
        raise NotImplementedError

    @contextmanager
    def upload(self) -> Iterator[ContentUpload]:
        """Opens an upload that is discarded unless committed."""
        raise NotImplementedError

    def read_bytes(self, digest: str) -> bytes:
        """Returns the content after verifying it.

        Raises:
            ContentNotFoundError: Nothing is stored under the digest.
            DigestMismatchError: What is stored was altered.
        """
        raise NotImplementedError

    def stream(self, digest: str, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        """Yields the content in chunks; an alteration is noticed after the last one, by DigestMismatchError."""
        raise NotImplementedError

    def fetch(self, digest: str, destination: Path) -> None:
        """Writes the verified content to a local file, whole or not at all."""
        raise NotImplementedError

    def exists(self, digest: str) -> bool:
        """Tells whether something is stored under the digest."""
        raise NotImplementedError

    def size_bytes(self, digest: str) -> int:
        """Returns the length of the content."""
        raise NotImplementedError

    def delete(self, digest: str) -> None:
        """Removes the content; removing what is absent is no error."""
        raise NotImplementedError

    def uri(self, digest: str) -> str:
        """Returns where the content lies, for messages to other services and people."""
        raise NotImplementedError
