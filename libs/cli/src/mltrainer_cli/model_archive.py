"""One file that holds one version: a ZIP of stored members, the same bytes whenever it is written again.

`version.json` comes first and lists every file with its digest and size; nothing else is read. Who exports
signs it (`version.json.sig`), as it holds lineage and metrics; the files are signed by who trained the model.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, TypeVar
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from mltrainer_models import Manifest, ManifestEntry

from mltrainer_cli.errors import CliError, ExitCode

FORMAT = "mltrainer-model-archive"
FORMAT_VERSION = 1
DOCUMENT = "version.json"
DOCUMENT_SIGNATURE = "version.json.sig"
_FILES = "files/"
_MAX_DOCUMENT_BYTES = 16 << 20
_MAX_FILES = 256
_CHUNK_BYTES = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PATH = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")
Read = Callable[[ManifestEntry], Iterator[bytes]]
Sign = Callable[[ManifestEntry], bytes]


@dataclass(frozen=True, slots=True)
class ModelArchive:
    """What an archive says.

    Attributes:
        source: Installation that wrote it.
        version: The version as its registry described it, in the JSON form of the contract.
        entries: Its files, by name.
    """

    source: str
    version: Mapping[str, Any]
    entries: tuple[ManifestEntry, ...]

    @property
    def manifest_digest(self) -> str:
        """Digest of the whole."""
        return Manifest(self.entries).digest


def write_archive(file: Path, archive: ModelArchive, read: Read, sign: Sign | None = None) -> None:
    """Writes an archive, whole or not at all; `read` yields the bytes of a file."""
    draft = file.with_name(f".{file.name}.draft")
    try:
        with ZipFile(draft, "w", ZIP_STORED) as target:
            document = _document(archive)
            target.writestr(_member(DOCUMENT), document)
            if sign is not None:
                target.writestr(_member(DOCUMENT_SIGNATURE), sign(_described(document)))
            for entry in archive.entries:
                with target.open(_member(_FILES + entry.file), "w", force_zip64=True) as member:
                    for chunk in verified(entry, read(entry)):
                        member.write(chunk)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def verified(entry: ManifestEntry, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields chunks and raises CliError where together they are not the announced file."""
    actual, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > entry.size_bytes:
            raise _broken(f"{entry.file} is longer than announced")
        actual.update(chunk)
        yield chunk
    if actual.hexdigest() != entry.sha256:
        raise _broken(f"{entry.file} does not have the announced digest")


class OpenArchive:
    """Reads an archive that somebody else may have made; use as a context."""

    def __init__(self, file: Path) -> None:
        try:
            self._zip = ZipFile(file)
        except OSError as error:
            raise CliError.from_os_error(error, "read the archive") from error
        except BadZipFile as error:
            raise _broken(f"{file} is no archive of a model") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def check(self) -> ModelArchive:
        """Returns what the archive says, after all its members were verified."""
        archive = self.read()
        for entry in archive.entries:
            for _ in verified(entry, self.chunks(entry)):
                pass
        return archive

    def read(self) -> ModelArchive:
        """Returns what the archive says; its members are announced and stored, not yet verified."""
        members = self._zip.infolist()
        names = [member.filename for member in members]
        if len(names) > _MAX_FILES + 2 or len(set(names)) != len(names) or names[:1] != [DOCUMENT]:
            raise _broken("its members are not those of an archive of a model")
        if any(member.compress_type != ZIP_STORED or member.flag_bits & 1 for member in members):
            raise _broken("a member is compressed or encrypted")
        sizes = {member.filename: member.file_size for member in members}
        described_bytes = sizes.pop(DOCUMENT) + sizes.pop(DOCUMENT_SIGNATURE, 0)
        if described_bytes > _MAX_DOCUMENT_BYTES:
            raise _broken(f"its description has {described_bytes} bytes")
        archive = _parse(self._bytes(DOCUMENT))
        if sizes != {_FILES + entry.file: entry.size_bytes for entry in archive.entries}:
            raise _broken("its members are not those it announces")
        return archive

    def description(self) -> tuple[ManifestEntry, bytes | None]:
        """Returns the description as a file, and its signature where it has one; call it after `read`."""
        is_signed = DOCUMENT_SIGNATURE in self._zip.namelist()
        signature = self._bytes(DOCUMENT_SIGNATURE) if is_signed else None
        return _described(self._bytes(DOCUMENT)), signature

    def chunks(self, entry: ManifestEntry) -> Iterator[bytes]:
        """Yields a file, unverified."""
        with self.open(entry) as member:
            while chunk := _guarded(lambda: member.read(_CHUNK_BYTES)):
                yield chunk

    def open(self, entry: ManifestEntry) -> IO[bytes]:
        """Opens a file."""
        return _guarded(lambda: self._zip.open(_FILES + entry.file))

    def _bytes(self, name: str) -> bytes:
        return _guarded(lambda: self._zip.read(name))


def _guarded(read: Callable[[], T]) -> T:
    try:
        return read()
    except (BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise _broken(f"it cannot be read: {error}") from error


def _member(name: str) -> ZipInfo:
    info = ZipInfo(name, _EPOCH)
    info.create_system, info.external_attr = 3, 0o644 << 16
    return info


def _described(document: bytes) -> ManifestEntry:
    return ManifestEntry(DOCUMENT, hashlib.sha256(document).hexdigest(), len(document))


def _document(archive: ModelArchive) -> bytes:
    files = [
        {"path": entry.file, "sha256": entry.sha256, "size_bytes": entry.size_bytes}
        for entry in archive.entries
    ]
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "source": archive.source,
        "version": archive.version,
        "manifest": {"digest": archive.manifest_digest, "files": files},
    }
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _parse(content: bytes) -> ModelArchive:
    try:
        document = json.loads(content)
        if (document["format"], document["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise _broken(f"it is not of format {FORMAT} {FORMAT_VERSION}")
        entries = tuple(
            ManifestEntry(str(one["path"]), str(one["sha256"]), int(one["size_bytes"]))
            for one in document["manifest"]["files"]
        )
        archive = ModelArchive(str(document["source"]), dict(document["version"]), entries)
        digest = document["manifest"]["digest"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(f"{DOCUMENT} is not what describes a model") from error
    for entry in entries:
        _check_entry(entry)
    if archive.manifest_digest != digest:
        raise _broken("its list of files does not have the announced digest")
    return archive


def _check_entry(entry: ManifestEntry) -> None:
    parts = entry.file.split("/")
    if _PATH.fullmatch(entry.file) is None or any(set(part) == {"."} for part in parts):
        raise _broken(f"{entry.file[:100]!r} cannot be the path of a file")
    if _SHA256.fullmatch(entry.sha256) is None or entry.size_bytes < 0:
        raise _broken(f"{entry.file} has no digest or no size")


def _broken(reason: str) -> CliError:
    return CliError(f"The archive cannot be used: {reason}.", ExitCode.REJECTED)
