"""Says which files may make up a version and what identifies them as a whole."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mltrainer_models.artifact import Manifest as ArtifactManifest
from mltrainer_models.artifact import ManifestEntry

from mltrainer_registry.domain.errors import (
    ArtifactDigestMismatchError,
    InvalidArtifactPathError,
    InvalidFieldError,
)

MAX_FILES = 256
_MAX_PATH_LENGTH = 255
_PATH = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """Announces one file."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Lists the files of a version; `digest` identifies them all."""

    digest: str
    files: tuple[ArtifactFile, ...]

    def file(self, path: str) -> ArtifactFile | None:
        """Returns the file of a path."""
        return next((file for file in self.files if file.path == path), None)


def manifest_digest(files: Sequence[ArtifactFile]) -> str:
    """Returns the digest that the attempt computes for the same files, in whatever order they are listed."""
    entries = (ManifestEntry(file.path, file.sha256, file.size_bytes) for file in files)
    return ArtifactManifest(tuple(entries)).digest


def check_manifest(files: Sequence[ArtifactFile], claimed_digest: str) -> Manifest:
    """Returns the manifest of an upload, whose digest may be left empty.

    Raises:
        InvalidFieldError: No files or too many, a malformed digest or a negative size.
        InvalidArtifactPathError: A path leaves its directory, or two paths exclude each other.
        ArtifactDigestMismatchError: The list does not have the claimed digest.
    """
    if not 1 <= len(files) <= MAX_FILES:
        raise InvalidFieldError("header.manifest.files", f"lists {len(files)} files, not 1 to {MAX_FILES}")
    for index, file in enumerate(files):
        _check_file(file, f"header.manifest.files[{index}]")
    _check_paths_together([file.path for file in files])
    digest = manifest_digest(files)
    if claimed_digest not in {"", digest}:
        raise ArtifactDigestMismatchError("the list of files", claimed_digest)
    return Manifest(digest, tuple(files))


def _check_file(file: ArtifactFile, field: str) -> None:
    if len(file.path) > _MAX_PATH_LENGTH or _PATH.fullmatch(file.path) is None:
        raise InvalidArtifactPathError(
            file.path[:_MAX_PATH_LENGTH],
            "use at most 255 letters, digits, '.', '_', '-' and single '/' between them",
        )
    if any(set(part) == {"."} for part in file.path.split("/")):
        raise InvalidArtifactPathError(file.path, "a part of dots only leaves the directory")
    if _SHA256.fullmatch(file.sha256) is None:
        raise InvalidFieldError(f"{field}.sha256", "is not 64 lower-case hexadecimal digits")
    if file.size_bytes < 0:
        raise InvalidFieldError(f"{field}.size_bytes", "is below 0")


def _check_paths_together(paths: Sequence[str]) -> None:
    # Compared without case: the files must also lie side by side where the file system ignores it.
    seen: set[str] = set()
    for path in (path.lower() for path in paths):
        if path in seen:
            raise InvalidArtifactPathError(path, "occurs twice")
        seen.add(path)
    for path in seen:
        parts = path.split("/")
        folders = ("/".join(parts[:length]) for length in range(1, len(parts)))
        if any(folder in seen for folder in folders):
            raise InvalidArtifactPathError(path, "lies inside another file")
