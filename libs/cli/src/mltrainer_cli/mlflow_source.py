"""What there is to know of an MLflow registry, read without MLflow and without loading any model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from mltrainer_cli.errors import CliError, ExitCode

_CHUNK_BYTES = 1 << 20
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "az", "abfs", "abfss"})
_PROXIED = "mlflow-artifacts"


class UnreadableArtifactError(Exception):
    """The files of a version cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class ForeignVersion:
    """A version as MLflow has it; `uri` is where its files are said to be."""

    number: int
    uri: str
    run_id: str = ""
    stage: str = ""
    status: str = ""
    description: str = ""
    create_time: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A registered model; `aliases` names versions."""

    name: str
    description: str
    tags: Mapping[str, str]
    aliases: Mapping[str, int]
    versions: tuple[ForeignVersion, ...]


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A file below the root of a version's artifacts."""

    path: str
    read: Callable[[], Iterator[bytes]]


class MlflowSource(Protocol):
    """Reads a registry."""

    @property
    def name(self) -> str:
        """Where it is, without credentials."""
        ...

    def models(self) -> Sequence[ForeignModel]:
        """Returns all models with all versions, oldest first."""
        ...

    def artifact_uri(self, uri: str) -> str:
        """Resolves `runs:/…` and `models:/m-…` to where the files are."""
        ...

    def proxied(self, path: str) -> Iterator[ForeignFile]:
        """Yields the files below a path that MLflow's server keeps.

        Raises:
            UnreadableArtifactError: There is no server here.
        """
        ...

    @property
    def may_read_local(self) -> bool:
        """Whether its paths may name files of this machine."""
        ...


def files_of(source: MlflowSource, uri: str, artifacts: Path | None) -> Iterator[ForeignFile]:
    """Yields the files of a version.

    Raises:
        UnreadableArtifactError: They are where they cannot be read from here.
    """
    parts = urlsplit(source.artifact_uri(uri))
    path = unquote(parts.path)
    if parts.scheme == _PROXIED:
        relative = path.lstrip("/")
        yield from (
            source.proxied(relative) if artifacts is None else local_files(artifacts / relative, artifacts)
        )
    elif parts.scheme in {"", "file"}:
        if not source.may_read_local and artifacts is None:
            raise UnreadableArtifactError(f"{uri} is a path of the server: name it with --artifacts")
        yield from local_files(Path(path), artifacts)
    elif parts.scheme in _OBJECT_STORES:
        yield from _object_files(f"{parts.scheme}://{parts.netloc}{path}")
    else:
        raise UnreadableArtifactError(f"nothing here reads {parts.scheme}:")


def local_files(folder: Path, within: Path | None) -> Iterator[ForeignFile]:
    """Yields the files below a folder; links are not followed."""
    if within is not None and not folder.resolve().is_relative_to(within.resolve()):
        raise UnreadableArtifactError(f"{folder} is not below {within}")
    if not folder.is_dir():
        raise UnreadableArtifactError(f"{folder} is no folder here")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(folder.resolve()):
            yield ForeignFile(path.relative_to(folder).as_posix(), _reader(path))


def _reader(path: Path) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    return read


def _object_files(url: str) -> Iterator[ForeignFile]:
    from mltrainer_common.object_folder import ObjectFolder

    root = ObjectFolder(url)
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            folders.extend(root.folders(folder))
            files = root.files(folder)
        except OSError as error:
            raise UnreadableArtifactError(str(error)) from error
        for file in files:
            yield ForeignFile(
                file.name.lstrip("/"),
                lambda name=file.name: root.read(name, _CHUNK_BYTES),  # type: ignore[misc]
            )


def from_milliseconds(value: object) -> datetime | None:
    """Reads a time as MLflow writes it."""
    return datetime.fromtimestamp(int(str(value)) / 1_000, UTC) if value else None


def unusable(source: str, reason: str) -> CliError:
    """Says why a source cannot be read."""
    return CliError(f"{source} cannot be read as an MLflow registry: {reason}.", ExitCode.PRECONDITION)
