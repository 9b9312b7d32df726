"""Models that only their own library can evaluate: over whole tables or series, never row by row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mltrainer_models.artifact import COMPANION_FILES, MODEL_FILE, ArtifactError, ModelArtifact
from mltrainer_models.description import ModelDescription, decode_description, encode_description
from mltrainer_models.library_state import (
    DTYPES,
    STATE_FILE,
    Plain,
    array_file,
    decode_state,
    encode_state,
    types_in,
)


class BatchOnlyError(ArtifactError):
    """The model needs its library and whole series: it is not served row by row."""

    def __init__(self, catalogue_id: str) -> None:
        self.catalogue_id = catalogue_id
        super().__init__(
            MODEL_FILE, f"{catalogue_id!r} predicts in batch only, where its library is installed"
        )


@dataclass(frozen=True, eq=False, slots=True)
class LibraryModel:
    """The state of a fitted model of a library; `catalogue_id` of the description says how to use it."""

    description: ModelDescription
    state: Plain

    KIND: ClassVar[str] = "library"
    PREPROCESSING: ClassVar[str] = "none"

    def to_files(self) -> dict[str, bytes]:
        """Writes the description and the state.

        Raises:
            UnsupportedStateError: a value of the state has no plain form.
        """
        description = encode_description(self.description, self.KIND, self.PREPROCESSING)
        return {MODEL_FILE: description} | encode_state(self.state)

    def to_artifact(self) -> ModelArtifact:
        """Packs the files."""
        return ModelArtifact(self.to_files())


def read_library_model(
    artifact: ModelArtifact | Mapping[str, bytes], catalogue_id: str, types: frozenset[str]
) -> LibraryModel:
    """Reads the state of a library's model; nothing is imported and no foreign code is called.

    `types` are all that may occur in its state.

    Raises:
        ArtifactError: the files are not that model, or name a type that it does not have.
    """
    files = artifact.files if isinstance(artifact, ModelArtifact) else artifact
    if MODEL_FILE not in files:
        raise ArtifactError(MODEL_FILE, "missing")
    description, kind, preprocessing = decode_description(files[MODEL_FILE])
    if (kind, preprocessing) != (LibraryModel.KIND, LibraryModel.PREPROCESSING):
        raise ArtifactError(MODEL_FILE, f"kind {kind!r} is not the state of a library")
    if description.catalogue_id != catalogue_id:
        raise ArtifactError(MODEL_FILE, f"it is {description.catalogue_id!r}, not {catalogue_id!r}")
    known = {MODEL_FILE, STATE_FILE, *map(array_file, DTYPES)} | COMPANION_FILES
    for name in sorted(files.keys() - known):
        raise ArtifactError(name, "not a file of this kind of model")
    state = decode_state(files)
    for name in sorted(set(types_in(state)) - types):
        raise ArtifactError(STATE_FILE, f"{catalogue_id!r} has no state of type {name!r}")
    return LibraryModel(description, state)
