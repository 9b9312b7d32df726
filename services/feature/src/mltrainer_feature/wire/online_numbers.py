"""Reads stored values as the numbers that on-demand features are computed from."""

from collections.abc import Sequence

import numpy as np

from mltrainer_feature.application.on_demand import CellReaders
from mltrainer_feature.domain.bar_grid import Floats
from mltrainer_feature.domain.online import Cell
from mltrainer_feature.wire.online_format import StoredTimes, read_double

_NAN = float("nan")


def double_values(cells: Sequence[Cell]) -> Floats:
    """Returns stored numbers; NaN where undefined or never written.

    Raises:
        ValueError: A cell holds no double.
    """
    return np.array([read_double(cell) if cell else _NAN for cell in cells], dtype=np.float64)


READERS = CellReaders(double_values, StoredTimes())
