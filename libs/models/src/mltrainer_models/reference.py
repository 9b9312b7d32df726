"""The data a model was trained on, in deciles: what drift is measured against."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltrainer_models.artifact import REFERENCE_FILE, ArtifactError
from mltrainer_models.canonical import CanonicalFormError, decode_canonical, encode_canonical

Floats = NDArray[np.float64]
_DECILES = np.linspace(0.1, 0.9, 9)


@dataclass(frozen=True, slots=True)
class FeatureReference:
    """One distribution: its inner decile edges, mean and standard deviation."""

    name: str
    deciles: tuple[float, ...]
    mean: float
    standard_deviation: float


@dataclass(frozen=True, slots=True)
class ModelReference:
    """The distributions of a model's features and predictions over its training rows."""

    rows: int
    features: tuple[FeatureReference, ...]
    prediction: FeatureReference

    def to_bytes(self) -> bytes:
        """Spells the summary as the bytes of `reference.json`."""
        return encode_canonical(asdict(self))


def summarise_reference(names: Sequence[str], matrix: Floats, predictions: Floats) -> ModelReference:
    """Summarises the training rows of a model."""
    features = tuple(_summarise(name, column) for name, column in zip(names, matrix.T, strict=True))
    return ModelReference(len(matrix), features, _summarise("prediction", predictions))


def read_reference(data: bytes) -> ModelReference:
    """Reads `reference.json`.

    Raises:
        ArtifactError: the bytes are no such summary.
    """
    try:
        document = decode_canonical(data)
        features = tuple(_parse(feature) for feature in document["features"])
        return ModelReference(int(document["rows"]), features, _parse(document["prediction"]))
    except (CanonicalFormError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(REFERENCE_FILE, "not a summary of training data") from error


def _summarise(name: str, values: Floats) -> FeatureReference:
    deciles = tuple(float(edge) for edge in np.quantile(values, _DECILES))
    return FeatureReference(name, deciles, float(values.mean()), float(values.std()))


def _parse(document: dict[str, Any]) -> FeatureReference:
    deciles = tuple(float(edge) for edge in document["deciles"])
    if len(deciles) != len(_DECILES):
        raise ValueError(f"{len(deciles)} deciles")
    return FeatureReference(
        str(document["name"]), deciles, float(document["mean"]), float(document["standard_deviation"])
    )
