"""Feast's format of online rows: keys, fields and values, as its Redis stores in every language lay them out.

A row of an entity is a hash. Its key is the entity's key, then the project. A feature's field is the murmur3
hash of `view:feature`, its value a serialized `feast.types.Value`; `_ts:view` holds the view's event time.
"""

import struct
from collections.abc import Sequence

import mmh3
import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from mltrainer_feature.domain.online import Cell, ValueKind

_TYPE_NUMBERS = {
    ValueKind.BYTES: 1,
    ValueKind.STRING: 2,
    ValueKind.INT32: 3,
    ValueKind.INT64: 4,
    ValueKind.UNIX_TIMESTAMP: 8,
}
_TYPE_TAGS = {kind: struct.pack("<I", number) for kind, number in _TYPE_NUMBERS.items()}
KEY_KINDS = frozenset(_TYPE_NUMBERS)
_LENGTH = struct.Struct("<I")
_INTEGERS = {
    ValueKind.INT32: struct.Struct("<i"),
    ValueKind.INT64: struct.Struct("<q"),
    ValueKind.UNIX_TIMESTAMP: struct.Struct("<q"),
}
_DOUBLE = struct.Struct("<cd")
DOUBLE_BYTES = _DOUBLE.size
# Tag of `feast.types.Value.double_val`.
_DOUBLE_TAG = b"\x29"
# `feast.types.Value.null_val`, as some writers say null instead of nothing.
_NULL_CELL = b"\x98\x01\x00"
_MAX_TIMES = 65_536
_SECOND_US = 1_000_000


def key_prefix(join_keys: Sequence[str]) -> bytes:
    """Returns what precedes the values in an entity's key; `join_keys` are sorted."""
    parts = [_LENGTH.pack(len(join_keys))]
    for name in join_keys:
        encoded = name.encode()
        parts += [_TYPE_TAGS[ValueKind.STRING], _LENGTH.pack(len(encoded)), encoded]
    return b"".join(parts)


def key_values(kind: ValueKind, values: Sequence[bytes | str | int]) -> list[bytes]:
    """Returns values as parts of keys."""
    tag, length = _TYPE_TAGS[kind], _LENGTH.pack
    if kind in _INTEGERS:
        pack = _INTEGERS[kind].pack
        head = tag + length(_INTEGERS[kind].size)
        return [head + pack(value) for value in values]
    encoded = [value.encode() if isinstance(value, str) else bytes(value) for value in values]
    return [tag + length(len(value)) + value for value in encoded]


def key_project(key: bytes) -> bytes | None:
    """Returns the project at the end of a key; None where it is no key of rows."""
    try:
        (count,) = _LENGTH.unpack_from(key, 0)
        place = _LENGTH.size
        for _ in range(2 * count):
            (length,) = _LENGTH.unpack_from(key, place + _LENGTH.size)
            place += 2 * _LENGTH.size + length
    except struct.error:
        return None
    return key[place:] if place <= len(key) else None


def feature_field(view: str, feature: str) -> bytes:
    """Returns the field that keeps a feature's value."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def time_field(view: str) -> bytes:
    """Returns the field that keeps a view's event time."""
    return f"_ts:{view}".encode()


def double_cell(value: float) -> bytes:
    """Returns a number as a stored value; NaN is undefined."""
    return _DOUBLE.pack(_DOUBLE_TAG, value) if value == value else b""  # noqa: PLR0124 - NaN differs from itself


def double_cells(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Returns numbers as stored values, by row, column and byte; NaN has to be emptied still."""
    cells = np.empty((*values.shape, DOUBLE_BYTES), dtype=np.uint8)
    cells[..., 0] = _DOUBLE_TAG[0]
    numbers = np.ascontiguousarray(values, dtype="<f8")
    cells[..., 1:] = numbers.view(np.uint8).reshape(*values.shape, DOUBLE_BYTES - 1)
    return cells


def read_double(cell: bytes) -> float:
    """Reads a stored number.

    Raises:
        ValueError: The cell holds no double.
    """
    if len(cell) != DOUBLE_BYTES or cell[:1] != _DOUBLE_TAG:
        raise ValueError("the stored value is no double")
    return float(_DOUBLE.unpack(cell)[1])


def normal_cell(cell: bytes) -> bytes:
    """Returns a serialized value as it is stored: null and NaN are empty."""
    if cell == _NULL_CELL:
        return b""
    if len(cell) == DOUBLE_BYTES and cell[:1] == _DOUBLE_TAG:
        value = _DOUBLE.unpack(cell)[1]
        return cell if value == value else b""  # noqa: PLR0124 - NaN differs from itself
    return cell


def time_cell(time_us: int) -> bytes:
    """Returns microseconds since 1970 UTC as a stored event time."""
    seconds, rest_us = divmod(time_us, _SECOND_US)
    return bytes(Timestamp(seconds=seconds, nanos=rest_us * 1_000).SerializeToString())


def _read_time(cell: bytes) -> int:
    moment = Timestamp.FromString(cell)
    return moment.seconds * _SECOND_US + moment.nanos // 1_000


class StoredTimes:
    """Reads event times; rows of one moment share theirs, so each is decoded once."""

    def __init__(self) -> None:
        self._known: dict[Cell, int | None] = {None: None}

    def __call__(self, cells: Sequence[Cell]) -> list[int | None]:
        """Returns microseconds since 1970 UTC; None where there is no row."""
        known = self._known
        try:
            if cells.count(cells[0]) == len(cells):
                return [known[cells[0]]] * len(cells)
            return [known[cell] for cell in cells]
        except KeyError:
            if len(known) > _MAX_TIMES:
                known.clear()
                known[None] = None
            known.update({cell: _read_time(cell) for cell in set(cells) if cell is not None})
            return [known[cell] for cell in cells]
