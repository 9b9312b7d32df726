"""Packs models into arrays of bytes that are kept beside predictions, and takes them out again."""

import struct
from dataclasses import replace
from typing import Any

import numpy as np
from mltrainer_models import ArtifactError, BatchOnlyError, ModelDescription, ModelTarget, load_predictor
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
_SIZES = struct.Struct("<HQ")


def pack_model(model: Any) -> Bytes:
    """Joins the files of a model without its description, which says whose it is and not what it does.

    Gives nothing where loading them would not give the same model again.
    """
    files: dict[str, bytes] = replace(model, description=_anonymous(model.description)).to_files()
    try:
        same = load_predictor(files).model.to_files() == files
    except (ArtifactError, BatchOnlyError):
        same = False
    parts = [
        _SIZES.pack(len(name), len(content)) + name.encode() + content for name, content in files.items()
    ]
    return np.frombuffer(b"".join(parts) if same else b"", dtype=np.uint8)


def unpack_model(packed: NDArray[Any], description: ModelDescription) -> Any:
    """Loads a model under another description; None where there is none."""
    if not len(packed):
        return None
    return replace(load_predictor(_files(packed.tobytes())).model, description=description)


def _anonymous(description: ModelDescription) -> ModelDescription:
    names = tuple(f"column-{number}" for number in range(len(description.feature_names)))
    return ModelDescription("", ModelTarget("", 0), names)


def _files(content: bytes) -> dict[str, bytes]:
    files, place = {}, 0
    while place < len(content):
        name_size, size = _SIZES.unpack_from(content, place)
        place += _SIZES.size
        name = content[place : place + name_size].decode()
        place += name_size
        files[name] = content[place : place + size]
        place += size
    return files
