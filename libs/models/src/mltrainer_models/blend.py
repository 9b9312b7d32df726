"""Weighted sums of models, as a study makes them from its best ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mltrainer_models.arrays import decode_array, encode_array
from mltrainer_models.artifact import COMPANION_FILES, MODEL_FILE, ArtifactError, ModelArtifact
from mltrainer_models.description import ModelDescription, encode_description

Floats = NDArray[np.float64]
MAXIMUM_PARTS = 16


class Part(Protocol):
    """A model that is summed."""

    @property
    def description(self) -> ModelDescription:
        """Says which model it is."""
        ...

    def to_files(self) -> dict[str, bytes]:
        """Writes it."""
        ...

    def evaluate(self, matrix: Floats) -> Floats:
        """Predicts every row by itself."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class BlendModel:
    """Predicts intercept + sum of weight * prediction of a part, each part of its own columns.

    The files of a part carry its number, as in `part-0.model.json`.
    """

    description: ModelDescription
    parts: tuple[Part, ...]
    weights: Floats
    intercept: float

    KIND: ClassVar[str] = "blend"
    PREPROCESSING: ClassVar[str] = "none"
    WEIGHTS_FILE: ClassVar[str] = "weights.npy"

    def to_files(self) -> dict[str, bytes]:
        """Writes the description, the weights after the intercept, and the parts."""
        files = {
            MODEL_FILE: encode_description(self.description, self.KIND, self.PREPROCESSING),
            self.WEIGHTS_FILE: encode_array(np.array([self.intercept, *self.weights])),
        }
        for number, part in enumerate(self.parts):
            files |= {f"part-{number}.{name}": content for name, content in part.to_files().items()}
        return files

    @classmethod
    def from_files(
        cls,
        description: ModelDescription,
        files: Mapping[str, bytes],
        load: Callable[[Mapping[str, bytes]], Part],
    ) -> "BlendModel":
        """Reads the weights and has `load` read the parts.

        Raises:
            ArtifactError: a part is missing or itself a blend, or reads a column that the blend lacks.
        """
        if cls.WEIGHTS_FILE not in files:
            raise ArtifactError(cls.WEIGHTS_FILE, "missing")
        numbers = decode_array(cls.WEIGHTS_FILE, files[cls.WEIGHTS_FILE], "float64")
        if not 1 < len(numbers) <= MAXIMUM_PARTS + 1:
            raise ArtifactError(cls.WEIGHTS_FILE, f"there must be 1 to {MAXIMUM_PARTS} parts")
        groups = _files_by_part(files, len(numbers) - 1)
        parts = tuple(load(group) for group in groups)
        for number, part in enumerate(parts):
            unknown = set(part.description.feature_names) - set(description.feature_names)
            if unknown:
                raise ArtifactError(f"part-{number}.{MODEL_FILE}", f"reads {min(unknown)!r}")
        return cls(description, parts, numbers[1:], float(numbers[0]))

    def to_artifact(self) -> ModelArtifact:
        """Packs the files."""
        return ModelArtifact(self.to_files())

    def evaluate(self, matrix: Floats) -> Floats:
        """Predicts every row of a C-ordered matrix without missing values, adding part after part."""
        total = np.full(len(matrix), self.intercept)
        for weight, part in zip(self.weights, self.parts, strict=True):
            total = total + weight * part.evaluate(_columns(self.description, part.description, matrix))
        return total


def _columns(whole: ModelDescription, part: ModelDescription, matrix: Floats) -> Floats:
    if part.feature_names == whole.feature_names:
        return matrix
    numbers = [whole.feature_names.index(name) for name in part.feature_names]
    return np.ascontiguousarray(matrix[:, numbers])


def _files_by_part(files: Mapping[str, bytes], count: int) -> Sequence[dict[str, bytes]]:
    groups: list[dict[str, bytes]] = [{} for _ in range(count)]
    own = {MODEL_FILE, BlendModel.WEIGHTS_FILE} | COMPANION_FILES
    for name in sorted(files.keys() - own):
        prefix, _, rest = name.partition(".")
        number = prefix.removeprefix("part-")
        if number not in map(str, range(count)) or rest in COMPANION_FILES or rest.startswith("part-"):
            raise ArtifactError(name, "not a file of this kind of model")
        groups[int(number)][rest] = files[name]
    return groups
