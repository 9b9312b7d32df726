"""Models made of few steps: kernels, neighbours, neural networks, Gaussian densities, centres."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mltrainer_models.arrays import decode_array, encode_array
from mltrainer_models.artifact import MODEL_FILE, ArtifactError, ModelArtifact
from mltrainer_models.canonical import CanonicalFormError, decode_canonical, encode_canonical
from mltrainer_models.description import ModelDescription, encode_description
from mltrainer_models.layer_operations import OPERATIONS, Layer, problem_of

Floats = NDArray[np.float64]
MAXIMUM_LAYERS = 64


@dataclass(frozen=True, eq=False, slots=True)
class LayersModel:
    """Predicts by sending each row through steps, the last of which leaves one number."""

    description: ModelDescription
    layers: tuple[Layer, ...]

    KIND: ClassVar[str] = "layers"
    PREPROCESSING: ClassVar[str] = "none"
    LAYERS_FILE: ClassVar[str] = "layers.json"
    NUMBERS_FILE: ClassVar[str] = "numbers.npy"

    def to_files(self) -> dict[str, bytes]:
        """Writes the description, the steps, and all their numbers one after the other."""
        steps = [
            {
                "operation": layer.operation,
                "settings": dict(layer.settings),
                "shapes": [list(values.shape) for values in layer.arrays],
            }
            for layer in self.layers
        ]
        numbers = [values.astype(np.float64).ravel() for layer in self.layers for values in layer.arrays]
        return {
            MODEL_FILE: encode_description(self.description, self.KIND, self.PREPROCESSING),
            self.LAYERS_FILE: encode_canonical({"layers": steps}),
            self.NUMBERS_FILE: encode_array(np.concatenate([np.empty(0), *numbers])),
        }

    @classmethod
    def from_files(cls, description: ModelDescription, files: Mapping[str, bytes]) -> "LayersModel":
        """Reads the steps and checks that each fits what enters it.

        Raises:
            ArtifactError: a step is unknown, or its settings or arrays are not what it needs.
        """
        numbers = decode_array(cls.NUMBERS_FILE, files[cls.NUMBERS_FILE], "float64")
        layers, used = [], 0
        for step in _steps(files[cls.LAYERS_FILE]):
            layer, used = _layer(step, numbers, used)
            layers.append(layer)
        if used != len(numbers):
            raise ArtifactError(cls.NUMBERS_FILE, "more numbers than the steps need")
        width = len(description.feature_names)
        for layer in layers:
            problem, width = problem_of(layer, width)
            if problem:
                raise ArtifactError(cls.LAYERS_FILE, problem)
        if width != 1:
            raise ArtifactError(cls.LAYERS_FILE, f"the last step leaves {width} columns, not one")
        return cls(description, tuple(layers))

    def to_artifact(self) -> ModelArtifact:
        """Packs the files."""
        return ModelArtifact(self.to_files())

    def evaluate(self, matrix: Floats) -> Floats:
        """Predicts every row of a C-ordered matrix without missing values, each by itself."""
        if not len(matrix):
            return np.empty(0)
        values = matrix
        for layer in self.layers:
            values = np.ascontiguousarray(OPERATIONS[layer.operation].evaluate(layer, values))
        return np.ascontiguousarray(values[:, 0])


def _steps(data: bytes) -> list[Mapping[str, Any]]:
    try:
        steps = decode_canonical(data).get("layers")
    except CanonicalFormError as error:
        raise ArtifactError(LayersModel.LAYERS_FILE, str(error)) from error
    if not isinstance(steps, list) or not 0 < len(steps) <= MAXIMUM_LAYERS:
        raise ArtifactError(LayersModel.LAYERS_FILE, f"there must be 1 to {MAXIMUM_LAYERS} layers")
    return steps


def _layer(step: Any, numbers: Floats, used: int) -> tuple[Layer, int]:
    if not isinstance(step, dict) or step.keys() != {"operation", "settings", "shapes"}:
        raise ArtifactError(LayersModel.LAYERS_FILE, "a step is not operation, settings and shapes")
    operation, settings, shapes = step["operation"], step["settings"], step["shapes"]
    if not (isinstance(operation, str) and isinstance(settings, dict) and isinstance(shapes, list)):
        raise ArtifactError(LayersModel.LAYERS_FILE, "a step has parts of another type")
    arrays = []
    for shape in shapes:
        if not _is_shape(shape) or prod(shape) > len(numbers) - used:
            raise ArtifactError(LayersModel.LAYERS_FILE, f"there are no numbers for the shape {shape!r}")
        arrays.append(numbers[used : used + prod(shape)].reshape(shape))
        used += prod(shape)
    return Layer(operation, tuple(arrays), tuple(sorted(settings.items()))), used


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, list)
        and 0 < len(shape) <= 3
        and all(type(size) is int and 0 < size < 1 << 31 for size in shape)
    )
