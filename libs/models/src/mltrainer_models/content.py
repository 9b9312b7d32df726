"""Digests values by what they hold, so that equal inputs of a computation have one name."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mltrainer_models.canonical import encode_canonical


class ContentError(TypeError):
    """A value has no spelling that equal values share."""


def content_digest(fields: Mapping[str, Any]) -> str:
    """Hashes named numbers, texts, mappings and arrays with SHA-256; neither order nor memory layout count.

    Raises:
        ContentError: A value is of another type, or not finite outside an array.
    """
    digest = hashlib.sha256()
    for name in sorted(fields):
        kind, content = _spelled(fields[name])
        digest.update(f"{name}\0{kind}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _spelled(value: Any) -> tuple[str, bytes | memoryview]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        array = np.ascontiguousarray(value)
        # Both byte orders of one number are one number.
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return f"array {array.dtype.str} {array.shape}", array.reshape(-1).view(np.uint8).data
    try:
        return "json", encode_canonical({"value": _plain(value)})
    except (TypeError, ValueError) as error:
        raise ContentError(f"{type(value).__name__} cannot be spelled canonically") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ContentError("keys of mappings must be texts")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
