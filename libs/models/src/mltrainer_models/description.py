"""What a model is, apart from its numbers: the content of `model.json`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mltrainer_models.artifact import MODEL_FILE, ArtifactError
from mltrainer_models.canonical import CanonicalFormError, decode_canonical, encode_canonical

FORMAT = "mltrainer-model"
FORMAT_VERSION = 1

Parameter = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """What the model predicts."""

    kind: str
    horizon_bars: int


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Which model it is and what it reads, in the order of its columns.

    `feature_views` maps each view the features come from to the digest of its definition.
    """

    catalogue_id: str
    target: ModelTarget
    feature_names: tuple[str, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    feature_views: Mapping[str, str] = field(default_factory=dict)


def encode_description(description: ModelDescription, kind: str, preprocessing: str) -> bytes:
    """Spells a description as the bytes of `model.json`."""
    return encode_canonical(
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "preprocessing": preprocessing,
            "catalogue_id": description.catalogue_id,
            "target": {"kind": description.target.kind, "horizon_bars": description.target.horizon_bars},
            "feature_names": list(description.feature_names),
            "feature_views": dict(description.feature_views),
            "parameters": dict(description.parameters),
        }
    )


def decode_description(data: bytes) -> tuple[ModelDescription, str, str]:
    """Reads `model.json`: the description, the kind of model and its preprocessing.

    Raises:
        ArtifactError: the bytes are no description of this format version.
    """
    try:
        document = decode_canonical(data)
    except CanonicalFormError as error:
        raise ArtifactError(MODEL_FILE, str(error)) from error
    version = document.get("format_version")
    if document.get("format") != FORMAT or version != FORMAT_VERSION:
        raise ArtifactError(MODEL_FILE, f"format version {version!r} is not {FORMAT_VERSION}")
    target = _of_type(document, "target", dict)
    names = _of_type(document, "feature_names", list)
    if (
        not names
        or len(set(map(repr, names))) != len(names)
        or not all(isinstance(name, str) for name in names)
    ):
        raise ArtifactError(MODEL_FILE, "feature_names must be distinct names, at least one")
    description = ModelDescription(
        catalogue_id=_of_type(document, "catalogue_id", str),
        target=ModelTarget(_of_type(target, "kind", str), _of_type(target, "horizon_bars", int)),
        feature_names=tuple(names),
        parameters=_scalars(document, "parameters"),
        feature_views=_scalars(document, "feature_views"),
    )
    return description, _of_type(document, "kind", str), _of_type(document, "preprocessing", str)


def _of_type(document: Mapping[str, Any], key: str, kind: type) -> Any:
    value = document.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ArtifactError(MODEL_FILE, f"{key} must be of type {kind.__name__}")
    return value


def _scalars(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    values: dict[str, Any] = _of_type(document, key, dict)
    if any(isinstance(value, dict | list) for value in values.values()):
        raise ArtifactError(MODEL_FILE, f"{key} must hold plain values")
    return values
