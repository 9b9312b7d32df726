"""Linear models of standardised features: persistence, HAR, ridge, elastic net, constants."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mltrainer_models.arrays import decode_array, encode_array, require_lengths
from mltrainer_models.artifact import MODEL_FILE, ArtifactError, ModelArtifact
from mltrainer_models.description import ModelDescription, encode_description
from mltrainer_models.links import Link, kind_with_link

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class LinearModel:
    """Predicts the link of intercept + sum of coefficient * (feature - mean) / scale."""

    description: ModelDescription
    mean: Floats
    scale: Floats
    coefficients: Floats
    intercept: float
    link: Link = Link.IDENTITY

    KIND: ClassVar[str] = "linear"
    PREPROCESSING: ClassVar[str] = "standardise"
    FILES: ClassVar[tuple[str, ...]] = ("mean.npy", "scale.npy", "coefficients.npy")
    INTERCEPT_FILE: ClassVar[str] = "intercept.npy"

    def to_files(self) -> dict[str, bytes]:
        """Writes the description and the arrays."""
        arrays = (self.mean, self.scale, self.coefficients, np.array([self.intercept]))
        names = (*self.FILES, self.INTERCEPT_FILE)
        files = {name: encode_array(values) for name, values in zip(names, arrays, strict=True)}
        kind = kind_with_link(self.KIND, self.link)
        return {MODEL_FILE: encode_description(self.description, kind, self.PREPROCESSING)} | files

    @classmethod
    def from_files(
        cls, description: ModelDescription, files: Mapping[str, bytes], link: Link = Link.IDENTITY
    ) -> "LinearModel":
        """Reads the arrays.

        Raises:
            ArtifactError: an array has another type or length, or a scale is not positive.
        """
        mean, scale, coefficients = (decode_array(name, files[name], "float64") for name in cls.FILES)
        intercept = decode_array(cls.INTERCEPT_FILE, files[cls.INTERCEPT_FILE], "float64")
        require_lengths(cls.FILES, (mean, scale, coefficients), len(description.feature_names))
        require_lengths((cls.INTERCEPT_FILE,), (intercept,), 1)
        if not (scale > 0).all():
            raise ArtifactError("scale.npy", "a scale is not positive")
        return cls(description, mean, scale, coefficients, float(intercept[0]), link)

    def to_artifact(self) -> ModelArtifact:
        """Packs the files."""
        return ModelArtifact(self.to_files())

    def evaluate(self, matrix: Floats) -> Floats:
        """Predicts every row of a C-ordered matrix without missing values.

        A row is reduced along its own memory, never by a matrix product whose order of additions depends on
        the number of rows: a row alone and in a batch give the same bits.
        """
        weights = self.coefficients / self.scale
        offset = self.intercept - float(np.add.reduce(self.mean * weights))
        return self.link.apply(np.asarray(np.add.reduce(matrix * weights, axis=1) + offset))
