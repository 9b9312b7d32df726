"""Flat arrays as NPY files of one spelling, readable by any NPY reader.

The header is compared, not parsed: a forged shape or type cannot reach an allocator or an evaluator.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltrainer_models.artifact import ArtifactError

_HEADER_BYTES = 128
_MAGIC = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")


def _header(dtype: np.dtype[Any], length: int) -> bytes:
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({length},), }}"
    return _MAGIC + text.ljust(_HEADER_BYTES - 11).encode() + b"\n"


def encode_array(values: NDArray[Any]) -> bytes:
    """Writes a flat array of little-endian numbers."""
    flat = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return _header(flat.dtype, len(flat)) + flat.tobytes()


def decode_array(file: str, data: bytes, dtype: str, *, finite: bool = True) -> NDArray[Any]:
    """Reads a flat array of one type, all finite unless that does not matter.

    Raises:
        ArtifactError: the bytes are not what `encode_array` writes for that type.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    length, rest = divmod(len(data) - _HEADER_BYTES, kind.itemsize)
    if rest or length < 0 or data[:_HEADER_BYTES] != _header(kind, length):
        raise ArtifactError(file, f"not a flat array of {kind.name}")
    values = np.frombuffer(data, dtype=kind, offset=_HEADER_BYTES)
    if finite and kind.kind == "f" and not np.isfinite(values).all():
        raise ArtifactError(file, "a number is not finite")
    return values


def require_lengths(files: Sequence[str], arrays: Sequence[NDArray[Any]], length: int) -> None:
    """Checks that arrays that belong together have one length.

    Raises:
        ArtifactError: one of them is longer or shorter.
    """
    for file, values in zip(files, arrays, strict=True):
        if len(values) != length:
            raise ArtifactError(file, f"has {len(values)} numbers, not {length}")
