"""Loads an artifact and predicts with it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltrainer_models.artifact import (
    COMPANION_FILES,
    EVALUATION_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    ArtifactError,
    ModelArtifact,
)
from mltrainer_models.blend import BlendModel
from mltrainer_models.description import ModelDescription, decode_description
from mltrainer_models.layers import LayersModel
from mltrainer_models.library_model import BatchOnlyError, LibraryModel
from mltrainer_models.linear import LinearModel
from mltrainer_models.links import links_of
from mltrainer_models.trees import TreesModel

Model = LinearModel | TreesModel | LayersModel | BlendModel
"""What predicts row by row with numpy alone."""

_LINEAR_KINDS = links_of(LinearModel.KIND)
_TREES_KINDS = links_of(TreesModel.KIND)


class PredictionInputError(ValueError):
    """The matrix does not have one column per feature of the model."""

    def __init__(self, shape: tuple[int, ...], expected_columns: int) -> None:
        self.shape = shape
        self.expected_columns = expected_columns
        super().__init__(f"expected rows of {expected_columns} features, got an array of shape {shape}")


class Predictor:
    """Predicts one number per row; a row with a missing or infinite feature gets NaN, no prediction."""

    __slots__ = ("description", "model")

    def __init__(self, model: Model) -> None:
        self.model = model
        self.description: ModelDescription = model.description

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names the columns, in order."""
        return self.description.feature_names

    @property
    def feature_views(self) -> Mapping[str, str]:
        """Maps each view the features come from to the digest of its definition."""
        return self.description.feature_views

    def predict(self, matrix: ArrayLike) -> NDArray[np.float64]:
        """Predicts rows of features; each row alone gives the same bits as in any batch.

        Raises:
            PredictionInputError: the matrix has another number of columns.
        """
        rows = np.ascontiguousarray(matrix, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.description.feature_names):
            raise PredictionInputError(rows.shape, len(self.description.feature_names))
        usable = np.isfinite(rows).all(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            if usable.all():
                return self.model.evaluate(rows)
            predictions = np.full(len(rows), np.nan)
            predictions[usable] = self.model.evaluate(rows[usable])
            return predictions


def save_model(
    model: Model | LibraryModel, reference: bytes | None = None, evaluation: bytes | None = None
) -> ModelArtifact:
    """Packs a model, with the summary of its training data and its losses by day where there are some."""
    companions = {REFERENCE_FILE: reference, EVALUATION_FILE: evaluation}
    present = {name: content for name, content in companions.items() if content is not None}
    return ModelArtifact(model.to_files() | present)


def load_predictor(artifact: ModelArtifact | Mapping[str, bytes]) -> Predictor:
    """Loads a model from its files.

    Bytes from elsewhere are verified against their manifest first (`ModelArtifact.verify`); this function
    only makes sure that whatever it is given ends as a working model or as an error.

    Raises:
        BatchOnlyError: the model is not served row by row.
        ArtifactError: the files are not a model this version can load.
    """
    files = artifact.files if isinstance(artifact, ModelArtifact) else artifact
    if MODEL_FILE not in files:
        raise ArtifactError(MODEL_FILE, "missing")
    description, kind, preprocessing = decode_description(files[MODEL_FILE])
    if kind in _LINEAR_KINDS and preprocessing == LinearModel.PREPROCESSING:
        _require_files(files, {*LinearModel.FILES, LinearModel.INTERCEPT_FILE})
        return Predictor(LinearModel.from_files(description, files, _LINEAR_KINDS[kind]))
    if kind in _TREES_KINDS and preprocessing in TreesModel.PREPROCESSING.values():
        _require_files(files, {*TreesModel.NODE_FILES, TreesModel.ROOTS_FILE, TreesModel.SCALING_FILE})
        return Predictor(TreesModel.from_files(description, files, preprocessing, _TREES_KINDS[kind]))
    if (kind, preprocessing) == (LayersModel.KIND, LayersModel.PREPROCESSING):
        _require_files(files, {LayersModel.LAYERS_FILE, LayersModel.NUMBERS_FILE})
        return Predictor(LayersModel.from_files(description, files))
    if (kind, preprocessing) == (BlendModel.KIND, BlendModel.PREPROCESSING):
        return Predictor(BlendModel.from_files(description, files, lambda part: load_predictor(part).model))
    if kind == LibraryModel.KIND:
        raise BatchOnlyError(description.catalogue_id)
    raise ArtifactError(MODEL_FILE, f"unknown kind {kind!r} with preprocessing {preprocessing!r}")


def _require_files(files: Mapping[str, bytes], arrays: set[str]) -> None:
    expected = arrays | {MODEL_FILE}
    for name in sorted(expected - files.keys()):
        raise ArtifactError(name, "missing")
    for name in sorted(files.keys() - expected - COMPANION_FILES):
        raise ArtifactError(name, "not a file of this kind of model")
