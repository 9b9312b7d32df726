"""Keeps whole files in a directory or an object store: each appears at once and durable, or not at all."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

# Spoken by obstore; fsspec itself would look for one package per scheme.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
_SPOOLS = "incoming"
_RANGE_BYTES = 8 << 20


class StoreUnavailableError(OSError):
    """The object store cannot be reached or refuses; the text is its own."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file; `name` is relative to the folder."""

    name: str
    size_bytes: int


class ObjectFolder:
    """Places, reads, lists and deletes files; methods block. What is missing is a FileNotFoundError.

    Credentials and endpoint of an object store come from its usual variables, such as `AWS_ENDPOINT_URL`.
    """

    def __init__(self, url: str) -> None:
        """Takes a directory or a URL such as `s3://bucket/prefix`."""
        self._files: Any
        self._files, self.root = _open(url)
        self.is_local = isinstance(self._files, LocalFileSystem)

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        """Opens a file to fill before `place`; it is gone afterwards."""
        # In the folder itself where it is a directory, so that the last step is a rename on one file system.
        folder = Path(self.root) / _SPOOLS if self.is_local else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with _locked_file(folder) as spool:
            try:
                yield spool
            finally:
                Path(spool.name).unlink(missing_ok=True)

    def place(self, spool: IO[bytes], name: str) -> None:
        """Makes a filled spool the file of that name, durably; a file that is there already is replaced."""
        spool.flush()
        if not self.is_local:
            with _translated():
                self._files.put_file(spool.name, self._path(name))
            return
        os.fsync(spool.fileno())
        path = Path(self._path(name))
        _make_folder(path.parent, Path(self.root))
        os.fchmod(spool.fileno(), 0o444)
        Path(spool.name).replace(path)
        _sync_folder(path.parent)

    def write(self, name: str, content: bytes) -> None:
        """Places a small file."""
        with self.spool() as spool:
            spool.write(content)
            self.place(spool, name)

    def read(self, name: str, chunk_bytes: int, offset_bytes: int = 0) -> Iterator[bytes]:
        """Yields a file in chunks."""
        if not self.is_local:
            yield from self._read_ranges(name, chunk_bytes, offset_bytes)
            return
        with Path(self._path(name)).open("rb") as file:
            file.seek(offset_bytes)
            while chunk := file.read(chunk_bytes):
                yield chunk

    def exists(self, name: str) -> bool:
        """Tells whether a file is there."""
        with _translated():
            return bool(self._files.exists(self._path(name)))

    def size_bytes(self, name: str) -> int:
        """Returns the length of a file."""
        with _translated():
            return int(self._files.size(self._path(name)))

    def modified_time(self, name: str) -> datetime:
        """Tells when a file was placed."""
        with _translated():
            time: datetime = self._files.modified(self._path(name))
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    def delete(self, name: str) -> None:
        """Removes a file; removing what is absent is no error."""
        with _translated():
            if self._files.exists(self._path(name)):
                self._files.rm_file(self._path(name))

    def folders(self, name: str) -> list[str]:
        """Names the folders inside a folder, in order."""
        return sorted(entry["name"] for entry in self._list(name) if entry["type"] == "directory")

    def files(self, name: str) -> list[StoredFile]:
        """Returns the files directly inside a folder, in order of their names."""
        found = (entry for entry in self._list(name) if entry["type"] == "file")
        return sorted((StoredFile(one["name"], int(one["size"])) for one in found), key=lambda it: it.name)

    def remove_folder(self, name: str) -> None:
        """Removes an empty folder where folders exist at all."""
        if self.is_local:
            Path(self._path(name)).rmdir()

    def drop_old_spools(self, before: datetime, *, dry_run: bool = False) -> int:
        """Removes the spools that a killed process has left before a time; returns how many there were."""
        folder = Path(self.root) / _SPOOLS
        if not self.is_local or not folder.is_dir():
            return 0
        return sum(_drop_abandoned(path, before, dry_run=dry_run) for path in folder.iterdir())

    def uri(self, name: str) -> str:
        """Returns where a file lies, for messages to other services and people."""
        return str(self._files.unstrip_protocol(self._path(name)))

    def _read_ranges(self, name: str, chunk_bytes: int, offset_bytes: int) -> Iterator[bytes]:
        size_bytes = self.size_bytes(name)
        # A request costs as much as some megabytes.
        step = chunk_bytes * max(1, _RANGE_BYTES // chunk_bytes)
        for start in range(offset_bytes, size_bytes, step):
            with _translated():
                part = self._files.cat_file(self._path(name), start, min(start + step, size_bytes))
            for begin in range(0, len(part), chunk_bytes):
                yield part[begin : begin + chunk_bytes]

    def _list(self, name: str) -> list[dict[str, Any]]:
        try:
            with _translated():
                entries = self._files.ls(self._path(name), detail=True, refresh=True)
        except FileNotFoundError:
            return []
        root = f"{self.root.lstrip('/')}/"
        return [{**one, "name": one["name"].lstrip("/").removeprefix(root).rstrip("/")} for one in entries]

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"


def _open(url: str) -> tuple[Any, str]:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _OBJECT_STORES:
        files, root = url_to_fs(url)
        return files, str(root)
    # Costs a quarter of a second: only where it is used.
    from obstore.fsspec import FsspecStore

    store: Any = FsspecStore
    return store(scheme), rest.rstrip("/")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith("obstore"):
            raise
        raise StoreUnavailableError(str(error).partition("\n")[0]) from error


def _make_folder(folder: Path, root: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    while folder not in {root, folder.parent}:
        folder = folder.parent
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    # Without it a power loss may forget the rename although the bytes are safe.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked_file(folder: Path | None) -> IO[bytes]:
    """Makes a file that nobody takes for abandoned until its writer has ended, however slow it is."""
    while True:
        file = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115 - the caller closes it
        fcntl.flock(file, fcntl.LOCK_EX)
        # Between its making and its lock it may have been taken for abandoned.
        if os.fstat(file.fileno()).st_nlink:
            return cast("IO[bytes]", file)
        file.close()


def _drop_abandoned(path: Path, before: datetime, *, dry_run: bool) -> bool:
    try:
        with path.open("rb") as spool:
            fcntl.flock(spool, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_old = os.fstat(spool.fileno()).st_mtime < before.timestamp()
            if is_old and not dry_run:
                path.unlink(missing_ok=True)
            return is_old
    except (FileNotFoundError, BlockingIOError):
        return False
