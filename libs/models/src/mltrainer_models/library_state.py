"""The state of a library's model as plain values: JSON for the tree, flat arrays for the numbers.

Reading imports nothing and creates no object of a foreign type: where a type stood there is an `ObjectState`
that names it. Who knows the library decides which names it accepts.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltrainer_models.arrays import decode_array, encode_array
from mltrainer_models.artifact import ArtifactError
from mltrainer_models.canonical import CanonicalFormError, decode_canonical, encode_canonical

STATE_FILE = "state.json"
MAXIMUM_NESTING = 100
DTYPES = ("float64", "float32", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint8", "bool")
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

Plain = Any
"""None, bool, int, float, str, list, tuple, dict, number or array of numpy, or ObjectState, nested."""


class UnsupportedStateError(ValueError):
    """The state holds a value that has no plain form."""

    def __init__(self, where: str, type_name: str) -> None:
        self.where = where
        self.type_name = type_name
        super().__init__(f"{where or 'the state'} holds a {type_name}")


@dataclass(frozen=True, eq=False, slots=True)
class ObjectState:
    """An object by the name of its type, `module:Class`, and its state."""

    type_name: str
    state: Plain


def types_in(value: Plain) -> Iterator[str]:
    """Yields the name of every type in a state."""
    match value:
        case ObjectState(type_name, state):
            yield type_name
            yield from types_in(state)
        case list() | tuple():
            for item in value:
                yield from types_in(item)
        case dict():
            for key, item in value.items():
                yield from types_in(key)
                yield from types_in(item)


def array_file(dtype: str) -> str:
    """Names the file that holds all numbers of one type."""
    return f"{dtype}.npy"


def encode_state(state: Plain) -> dict[str, bytes]:
    """Writes a state as files, the same state always as the same bytes.

    Raises:
        UnsupportedStateError: a value has no plain form.
    """
    writer = _Writer()
    tree = writer.encode(state, "")
    files = {STATE_FILE: encode_canonical({"state": tree})}
    for dtype, parts in writer.parts.items():
        numbers = np.concatenate(parts)
        files[array_file(dtype)] = encode_array(numbers.astype("uint8") if dtype == "bool" else numbers)
    return files


def decode_state(files: Mapping[str, bytes]) -> Plain:
    """Reads what `encode_state` wrote.

    Raises:
        ArtifactError: the files are something else.
    """
    if STATE_FILE not in files:
        raise ArtifactError(STATE_FILE, "missing")
    try:
        document = decode_canonical(files[STATE_FILE])
    except CanonicalFormError as error:
        raise ArtifactError(STATE_FILE, str(error)) from error
    if document.keys() != {"state"}:
        raise ArtifactError(STATE_FILE, "not a state")
    stored = {dtype: _stored(files, dtype) for dtype in DTYPES if array_file(dtype) in files}
    reader = _Reader(stored)
    state = reader.decode(document["state"], 0)
    for dtype, numbers in stored.items():
        if reader.used.get(dtype, 0) != len(numbers):
            raise ArtifactError(array_file(dtype), "more numbers than the state needs")
    return state


def _stored(files: Mapping[str, bytes], dtype: str) -> NDArray[Any]:
    numbers = decode_array(
        array_file(dtype), files[array_file(dtype)], "uint8" if dtype == "bool" else dtype, finite=False
    )
    if dtype != "bool":
        return numbers
    if (numbers > 1).any():
        raise ArtifactError(array_file(dtype), "a truth value is neither 0 nor 1")
    return numbers.astype(np.bool_)


@dataclass(slots=True)
class _Writer:
    parts: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def encode(self, value: Plain, where: str) -> Any:
        if where.count("/") > MAXIMUM_NESTING:
            raise UnsupportedStateError(where[:200], "structure nested too deeply")
        if value is None or type(value) in {bool, int, str}:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": str(value)}
        return self._encode_nested(value, where)

    def _encode_nested(self, value: Plain, where: str) -> Any:
        match value:
            case ObjectState(type_name, state):
                return {"object": type_name, "state": self.encode(state, f"{where}/{type_name}")}
            case list():
                return [self.encode(item, f"{where}/{place}") for place, item in enumerate(value)]
            case tuple():
                return {"tuple": [self.encode(item, f"{where}/{place}") for place, item in enumerate(value)]}
            case dict():
                pairs = [
                    [self.encode(key, f"{where}/key"), self.encode(item, f"{where}/{key}")]
                    for key, item in value.items()
                ]
                return {"dict": pairs}
            case np.ndarray() if value.dtype.name in DTYPES:
                self._keep(value)
                return {"array": value.dtype.name, "shape": list(value.shape)}
            case np.generic() if value.dtype.name in DTYPES:
                self._keep(np.asarray(value))
                return {"number": value.dtype.name}
        kind = type(value)
        dtype = f" of {value.dtype}" if isinstance(value, np.ndarray | np.generic) else ""
        raise UnsupportedStateError(where, f"{kind.__module__}:{kind.__qualname__}{dtype}")

    def _keep(self, values: NDArray[Any]) -> None:
        self.parts.setdefault(values.dtype.name, []).append(np.ascontiguousarray(values).ravel())


@dataclass(slots=True)
class _Reader:
    stored: Mapping[str, NDArray[Any]]
    used: dict[str, int] = field(default_factory=dict)

    def decode(self, node: Any, depth: int) -> Plain:
        if depth > 2 * MAXIMUM_NESTING:
            raise ArtifactError(STATE_FILE, "nested too deeply")
        if isinstance(node, list):
            return [self.decode(item, depth + 1) for item in node]
        return self._decode_tagged(node, depth) if isinstance(node, dict) else node

    def _decode_tagged(self, node: dict[str, Any], depth: int) -> Plain:
        match node:
            case {"float": str(text), **rest} if text in _SPECIAL and not rest:
                return _SPECIAL[text]
            case {"tuple": list(items), **rest} if not rest:
                return tuple(self.decode(items, depth + 1))
            case {"dict": list(pairs), **rest} if not rest:
                return self._dict(pairs, depth)
            case {"object": str(type_name), "state": state, **rest} if not rest:
                return ObjectState(type_name, self.decode(state, depth + 1))
            case {"array": str(dtype), "shape": list(shape), **rest} if not rest:
                return self._take(dtype, shape)
            case {"number": str(dtype), **rest} if not rest:
                return self._take(dtype, [])[()]
        raise ArtifactError(STATE_FILE, "a value of no known form")

    def _dict(self, pairs: list[Any], depth: int) -> dict[Any, Plain]:
        found: dict[Any, Plain] = {}
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:
                raise ArtifactError(STATE_FILE, "a dictionary entry is no pair")
            key = self.decode(pair[0], depth + 1)
            if not isinstance(key, str | int | float | np.generic | None) and not _is_plain_tuple(key):
                raise ArtifactError(STATE_FILE, "a key is neither text nor a number")
            if key in found:
                raise ArtifactError(STATE_FILE, f"two entries of the key {key!r}")
            found[key] = self.decode(pair[1], depth + 1)
        return found

    def _take(self, dtype: str, shape: list[Any]) -> NDArray[Any]:
        numbers, start = self.stored.get(dtype), self.used.get(dtype, 0)
        if numbers is None or not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
            raise ArtifactError(STATE_FILE, f"no array of {dtype[:20]} and shape {shape[:4]!r}")
        if len(shape) > 8 or prod(shape) > len(numbers) - start:
            raise ArtifactError(array_file(dtype), "fewer numbers than the state needs")
        self.used[dtype] = start + prod(shape)
        return numbers[start : start + prod(shape)].reshape(shape).copy()


def _is_plain_tuple(key: Plain) -> bool:
    return isinstance(key, tuple) and all(isinstance(item, str | int | float | None) for item in key)
