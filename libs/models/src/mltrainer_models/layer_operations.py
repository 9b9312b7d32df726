"""The closed set of steps that a layered model is made of, as plain numpy.

Every step reduces along a row's own memory, never by a matrix product whose order of additions depends on
the number of rows: a row alone and in a batch give the same bits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Setting = str | int | float
_NUMBERS_AT_ONCE = 1 << 20

ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": lambda z: np.asarray(np.tanh(z)),
    "logistic": lambda z: np.asarray(1.0 / (1.0 + np.exp(-z))),
    "exponential": lambda z: np.asarray(np.exp(z)),
    "positive": lambda z: (z > 0.0).astype(np.float64),
    "negative": lambda z: -z,
}


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """One step with its settings and arrays, in the order in which its operation names them."""

    operation: str
    arrays: tuple[Floats, ...] = ()
    settings: tuple[tuple[str, Setting], ...] = ()

    def __post_init__(self) -> None:
        """Lays the arrays out row by row, as they are read: the order of additions depends on it."""
        arrays = tuple(np.ascontiguousarray(values, np.float64) for values in self.arrays)
        object.__setattr__(self, "arrays", arrays)

    def setting(self, name: str) -> Any:
        """Looks a setting up."""
        return dict(self.settings)[name]


@dataclass(frozen=True, slots=True)
class Operation:
    """How a step is checked and evaluated.

    `shapes` spells each array's dimensions in letters; `w` is the width of what comes in. `settings` gives
    the type of each setting, or the words it may be. `width` names the dimension that is the width of what
    comes out, or gives it.
    """

    shapes: tuple[str, ...]
    width: str | int
    evaluate: Callable[[Layer, Floats], Floats]
    settings: Mapping[str, type | tuple[str, ...]]


def _standardise(layer: Layer, rows: Floats) -> Floats:
    mean, scale = layer.arrays
    return np.asarray((rows - mean) / scale)


def _dense(layer: Layer, rows: Floats) -> Floats:
    weights, bias = layer.arrays
    return _by_block(rows, weights.size, lambda block: _products(block, weights) + bias)


def _activation(layer: Layer, rows: Floats) -> Floats:
    function: str = layer.setting("function")
    result: Floats = ACTIVATIONS[function](rows)
    return result


def _kernel(layer: Layer, rows: Floats) -> Floats:
    (vectors,) = layer.arrays
    function, gamma = layer.setting("function"), float(layer.setting("gamma"))
    offset, degree = float(layer.setting("offset")), int(layer.setting("degree"))

    def block_kernel(block: Floats) -> Floats:
        match function:
            case "rbf":
                return np.asarray(np.exp(-gamma * _square_distances(block, vectors)))
            case "laplacian":
                return np.asarray(
                    np.exp(-gamma * np.add.reduce(np.abs(block[:, np.newaxis] - vectors), axis=2))
                )
            case "matern-3/2":
                scaled = np.sqrt(3.0 * _square_distances(block, vectors)) * gamma
                return np.asarray((1.0 + scaled) * np.exp(-scaled))
            case "polynomial":
                return np.asarray((gamma * _products(block, vectors) + offset) ** degree)
            case _:
                return np.asarray(np.tanh(gamma * _products(block, vectors) + offset))

    return _by_block(rows, vectors.size, block_kernel)


def _neighbours(layer: Layer, rows: Floats) -> Floats:
    vectors, values = layer.arrays
    count = min(int(layer.setting("count")), len(vectors))
    is_weighted = layer.setting("weighting") == "distance"

    def block_mean(block: Floats) -> Floats:
        distances = np.sqrt(_square_distances(block, vectors))
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :count]
        found = values[nearest]
        if not is_weighted:
            return np.asarray(np.add.reduce(found, axis=1) / count)[:, np.newaxis]
        near = np.take_along_axis(distances, nearest, axis=1)
        exact = near == 0.0
        with np.errstate(divide="ignore"):
            weights = np.where(exact.any(axis=1, keepdims=True), exact, 1.0 / near)
        mean = np.add.reduce(found * weights, axis=1) / np.add.reduce(weights, axis=1)
        return np.asarray(mean)[:, np.newaxis]

    return _by_block(rows, vectors.size, block_mean)


def _distances(layer: Layer, rows: Floats) -> Floats:
    (centres,) = layer.arrays
    return _by_block(rows, centres.size, lambda block: _square_distances(block, centres))


def _gaussians(layer: Layer, rows: Floats) -> Floats:
    means, whitening, offsets = layer.arrays

    def log_densities(block: Floats) -> Floats:
        centred = block[:, np.newaxis, :] - means
        white = np.add.reduce(centred[:, :, np.newaxis, :] * whitening, axis=3)
        return np.asarray(offsets - 0.5 * np.add.reduce(white * white, axis=2))

    return _by_block(rows, whitening.size, log_densities)


def _softmax(_layer: Layer, rows: Floats) -> Floats:
    raised = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(raised / np.add.reduce(raised, axis=1)[:, np.newaxis])


def _largest(_layer: Layer, rows: Floats) -> Floats:
    places: Floats = rows.argmax(axis=1).astype(np.float64)
    return places[:, np.newaxis]


def _interpolate(layer: Layer, rows: Floats) -> Floats:
    places, heights = layer.arrays
    return np.asarray(np.interp(rows[:, 0], places, heights))[:, np.newaxis]


def _products(block: Floats, vectors: Floats) -> Floats:
    return np.asarray(np.add.reduce(block[:, np.newaxis, :] * vectors, axis=2))


def _square_distances(block: Floats, vectors: Floats) -> Floats:
    difference = block[:, np.newaxis, :] - vectors
    squares: Floats = np.add.reduce(difference * difference, axis=2)
    return squares


def _by_block(rows: Floats, numbers_per_row: int, evaluate: Callable[[Floats], Floats]) -> Floats:
    size = max(1, _NUMBERS_AT_ONCE // max(numbers_per_row, 1))
    if len(rows) <= size:
        return evaluate(rows)
    return np.concatenate([evaluate(rows[start : start + size]) for start in range(0, len(rows), size)])


_KERNELS = ("rbf", "laplacian", "matern-3/2", "polynomial", "sigmoid")
OPERATIONS: Mapping[str, Operation] = {
    "standardise": Operation(("w", "w"), "w", _standardise, {}),
    "dense": Operation(("ow", "o"), "o", _dense, {}),
    "activation": Operation((), "w", _activation, {"function": tuple(ACTIVATIONS)}),
    "kernel": Operation(
        ("nw",), "n", _kernel, {"function": _KERNELS, "gamma": float, "offset": float, "degree": int}
    ),
    "neighbours": Operation(
        ("nw", "n"), 1, _neighbours, {"count": int, "weighting": ("uniform", "distance")}
    ),
    "square-distances": Operation(("kw",), "k", _distances, {}),
    "gaussians": Operation(("kw", "kvw", "k"), "k", _gaussians, {}),
    "softmax": Operation((), "w", _softmax, {}),
    "largest": Operation((), 1, _largest, {}),
    "interpolate": Operation(("n", "n"), 1, _interpolate, {}),
}


def problem_of(layer: Layer, width: int) -> tuple[str, int]:
    """Says what is wrong with a step that `width` columns enter, or nothing, and how wide its result is."""
    operation = OPERATIONS.get(layer.operation)
    if operation is None:
        return f"unknown operation {layer.operation!r}", 0
    if dict(layer.settings).keys() != operation.settings.keys():
        return f"{layer.operation} has other settings than {sorted(operation.settings)}", 0
    for name, value in layer.settings:
        if not _is_allowed(value, operation.settings[name]):
            return f"{layer.operation} cannot have {name} {value!r}", 0
    sizes = _sizes(operation.shapes, layer.arrays, width)
    if sizes is None:
        return f"the arrays of {layer.operation} do not fit {width} columns or each other", 0
    problem = _broken_numbers(layer)
    return problem, sizes[operation.width] if isinstance(operation.width, str) else operation.width


def _is_allowed(value: Setting, allowed: type | tuple[str, ...]) -> bool:
    if isinstance(allowed, tuple):
        return value in allowed
    if allowed is int:
        return type(value) is int and 0 < value < 1 << 20
    return type(value) is float


def _sizes(shapes: Sequence[str], arrays: Sequence[Floats], width: int) -> dict[str, int] | None:
    sizes = {"w": width}
    if len(shapes) != len(arrays):
        return None
    for shape, values in zip(shapes, arrays, strict=True):
        if len(shape) != values.ndim:
            return None
        for letter, size in zip(shape, values.shape, strict=True):
            if size < 1 or sizes.setdefault(letter, size) != size:
                return None
    return sizes


def _broken_numbers(layer: Layer) -> str:
    if layer.operation == "standardise" and not (layer.arrays[1] > 0).all():
        return "a scale is not positive"
    if layer.operation == "interpolate" and (np.diff(layer.arrays[0]) <= 0).any():
        return "the places to interpolate between do not rise"
    return ""
