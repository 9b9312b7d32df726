"""Objects of libraries as plain state and back, for an explicit list of types.

Nothing that an artifact says is called: an object is made bare and given its attributes. Compiled types,
which have none, are rebuilt from the arrays they were made of.
"""

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models import ObjectState, UnsupportedStateError
from mltrainer_models.library_state import MAXIMUM_NESTING, Plain

_LIBRARY_ARRAYS = np.ndarray | np.generic


def type_name(kind: type) -> str:
    """Names a type as artifacts do."""
    return f"{kind.__module__}:{kind.__qualname__}"


@dataclass(frozen=True, slots=True)
class _Compiled:
    """How a compiled type is taken apart and put together."""

    take: Callable[[Any], dict[str, Plain]]
    make: Callable[[type, Mapping[str, Plain]], Any]


def _take_tree(tree: Any) -> dict[str, Plain]:
    state = tree.__getstate__()
    nodes = state["nodes"]
    columns = {name: np.ascontiguousarray(nodes[name]) for name in nodes.dtype.names}
    return {
        "n_features": int(tree.n_features),
        "n_classes": tree.n_classes,
        "max_depth": int(state["max_depth"]),
        "values": state["values"],
        **columns,
    }


def _make_tree(kind: type, state: Mapping[str, Plain]) -> Any:
    count = len(state["left_child"])
    _require_tree(state, count)
    empty = kind(int(state["n_features"]), np.asarray(state["n_classes"], np.intp), 1)
    dtype = empty.__getstate__()["nodes"].dtype
    nodes = np.zeros(count, dtype)
    for name in dtype.names:
        nodes[name] = state[name]
    empty.__setstate__(
        {
            "max_depth": int(state["max_depth"]),
            "node_count": count,
            "nodes": nodes,
            "values": np.ascontiguousarray(state["values"], np.float64),
        }
    )
    return empty


def _require_tree(state: Mapping[str, Plain], count: int) -> None:
    """Checks what the library does not: a child or feature beyond its array would end the process."""
    own = np.arange(count)
    left, right, feature = state["left_child"], state["right_child"], state["feature"]
    is_leaf = left < 0
    inner_is_sound = ((left > own) & (right > own) & (left < count) & (right < count))[~is_leaf].all()
    reads_are_sound = ((feature >= 0) & (feature < int(state["n_features"])))[~is_leaf].all()
    if not (count and inner_is_sound and reads_are_sound and (right[is_leaf] < 0).all()):
        raise ValueError("a tree points outside of itself")
    if state["values"].shape[:2] != (count, 1) or len(state["n_classes"]) != 1:
        raise ValueError("a tree has other values than nodes")


def _take_search_tree(tree: Any) -> dict[str, Plain]:
    data, *_ = tree.get_arrays()
    leaf_size, metric = int(tree.__getstate__()[6]), tree.__getstate__()[10]
    return {
        "data": np.asarray(data),
        "leaf_size": leaf_size,
        "metric": type(metric).__name__,
        "power": float(getattr(metric, "p", 2.0)),
    }


_METRICS = {
    "EuclideanDistance64": "euclidean",
    "ManhattanDistance64": "manhattan",
    "EuclideanDistance": "euclidean",
    "ManhattanDistance": "manhattan",
}


def _make_search_tree(kind: type, state: Mapping[str, Plain]) -> Any:
    metric = _METRICS.get(str(state["metric"]))
    if metric is None:
        return kind(state["data"], leaf_size=int(state["leaf_size"]), metric="minkowski", p=state["power"])
    return kind(state["data"], leaf_size=int(state["leaf_size"]), metric=metric)


_SEARCH_TREE = _Compiled(_take_search_tree, _make_search_tree)
_COMPILED: Mapping[str, _Compiled] = {
    "sklearn.tree._tree:Tree": _Compiled(_take_tree, _make_tree),
    "sklearn.neighbors._kd_tree:KDTree": _SEARCH_TREE,
    "sklearn.neighbors._ball_tree:BallTree": _SEARCH_TREE,
}


def take_apart(value: Any, types: Collection[str], depth: int = 0) -> Plain:
    """Turns a value into plain state.

    Raises:
        UnsupportedStateError: an object is of none of the types.
    """
    if depth > MAXIMUM_NESTING:
        raise UnsupportedStateError("the state", "structure nested too deeply")
    if value is None or isinstance(value, bool | int | float | str | _LIBRARY_ARRAYS):
        return _plain(value, types, depth)
    if isinstance(value, list | tuple):
        # A named tuple is taken for what it is compared with and unpacked as: a tuple.
        items = [take_apart(item, types, depth + 1) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if type(value) is dict:
        return {key: take_apart(item, types, depth + 1) for key, item in value.items()}
    name = type_name(type(value))
    if name not in types:
        raise UnsupportedStateError("the state", name)
    if name in _COMPILED:
        return ObjectState(name, _COMPILED[name].take(value))
    return ObjectState(name, take_apart(dict(vars(value)), types, depth + 1))


def _plain(value: Any, types: Collection[str], depth: int) -> Plain:
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        items = [take_apart(item, types, depth + 1) for item in value.ravel().tolist()]
        return {"objects": items, "shape": list(value.shape)}
    return str(value) if type(value) is np.str_ else value


def put_together(value: Plain) -> Any:
    """Turns plain state back into objects; whoever read it has checked the names of its types."""
    if isinstance(value, ObjectState):
        return _make(value)
    if isinstance(value, list | tuple):
        return type(value)(put_together(item) for item in value)
    if isinstance(value, dict):
        if value.keys() == {"objects", "shape"}:
            array = np.empty(value["shape"], dtype=object)
            array.ravel()[:] = [put_together(item) for item in value["objects"]]
            return array
        return {key: put_together(item) for key, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value


def _make(value: ObjectState) -> Any:
    module, _, qualified = value.type_name.partition(":")
    kind: Any = getattr(importlib.import_module(module), qualified)
    if value.type_name in _COMPILED:
        return _COMPILED[value.type_name].make(kind, value.state)
    made = kind.__new__(kind)
    vars(made).update(put_together(value.state))
    return made
