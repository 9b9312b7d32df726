"""A model as named files, with the digests that name it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mltrainer_models.canonical import canonical_digest

MODEL_FILE = "model.json"
REFERENCE_FILE = "reference.json"
EVALUATION_FILE = "evaluation.json"
DIAGNOSTICS_FILE = "diagnostics.json"
SBOM_FILE = "sbom.cdx.json"
SIGNATURE_FILE = "model.sig"
COMPANION_FILES = frozenset({REFERENCE_FILE, EVALUATION_FILE, DIAGNOSTICS_FILE, SBOM_FILE, SIGNATURE_FILE})
"""Files that travel with a model and say nothing about its identity: no prediction depends on them."""


def model_store_url(artifact_url: str) -> str:
    """Names the place of models within the store that all services share.

    It is the registry's own: whatever lies there and belongs to no version is garbage.
    """
    return f"{artifact_url.rstrip('/')}/models"


class ArtifactError(Exception):
    """The bytes are not a model this version can load."""

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"artifact file {file!r}: {problem}")


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One file of an artifact."""

    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of an artifact, sorted by name."""

    entries: tuple[ManifestEntry, ...]

    @property
    def digest(self) -> str:
        """Names exactly these bytes; what a download is verified against."""
        return canonical_digest(
            {entry.file: {"sha256": entry.sha256, "size_bytes": entry.size_bytes} for entry in self.entries}
        )


@dataclass(frozen=True)
class ModelArtifact:
    """The files of one model, by name."""

    files: Mapping[str, bytes]

    @cached_property
    def manifest(self) -> Manifest:
        """Lists every file with its digest and size."""
        return Manifest(
            tuple(
                ManifestEntry(name, hashlib.sha256(data).hexdigest(), len(data))
                for name, data in sorted(self.files.items())
            )
        )

    @cached_property
    def canonical_digest(self) -> str:
        """Names the model itself: its description and arrays, without the files that travel with it.

        Descriptions and arrays have one spelling each, so refitting the same model on the same data gives
        the same digest.
        """
        identity = {
            entry.file: entry.sha256 for entry in self.manifest.entries if entry.file not in COMPANION_FILES
        }
        return canonical_digest({"format": "mltrainer-model", "files": identity})

    def verify(self, manifest: Manifest) -> None:
        """Checks every file against a manifest.

        Raises:
            ArtifactError: a file is missing, added or changed; the error names it.
        """
        expected = {entry.file: entry for entry in manifest.entries}
        found = {entry.file: entry for entry in self.manifest.entries}
        for name in sorted(expected.keys() | found.keys()):
            if name not in found:
                raise ArtifactError(name, "missing")
            if name not in expected:
                raise ArtifactError(name, "not in the manifest")
            if found[name] != expected[name]:
                raise ArtifactError(name, "its bytes differ from the manifest")
