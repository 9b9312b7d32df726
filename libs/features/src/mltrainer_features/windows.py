"""Window sums that do not depend on where a window lies in its array.

A running sum that adds the newest and subtracts the oldest value carries rounding from the first bar on, so
a bounded look-back would give other digits than a full history. Here every window adds its own values,
newest first.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


def lagged(values: Floats, lag: int) -> Floats:
    """Shifts along the first axis; what lies before the start is NaN."""
    shifted = np.full_like(values, np.nan)
    shifted[lag:] = values[:-lag]
    return shifted


def trailing_sums(values: Floats, spans: Sequence[int]) -> dict[int, Floats]:
    """Sums the last `span` values for several spans in one pass."""
    total = values.copy()
    sums = {1: values} if 1 in spans else {}
    for lag in range(1, max(spans)):
        total[lag:] += values[:-lag]
        if lag + 1 in spans:
            sums[lag + 1] = _without_start(total, lag)
    return sums


def trailing_weighted_sum(values: Floats, weights: Sequence[float]) -> Floats:
    """Sums the last values times `weights`, the newest value first."""
    total = values * weights[0]
    for lag, weight in enumerate(weights[1:], start=1):
        total[lag:] += values[:-lag] * weight
    return _without_start(total, len(weights) - 1)


def trailing_maximum(values: Floats, span: int) -> Floats:
    """Takes the largest of the last `span` values, doubling the covered length each step."""
    largest, covered = values.copy(), 1
    while covered < span:
        step = min(covered, span - covered)
        widened = largest.copy()
        np.maximum(largest[step:], largest[:-step], out=widened[step:])
        largest, covered = widened, covered + step
    return _without_start(largest, span - 1)


def trailing_cross_product(left: Floats, right: Floats, span: int) -> Floats:
    """Sums (left - its mean) (right - its mean) over the last `span` values."""
    left_mean = trailing_sums(left, (span,))[span] / span
    right_mean = left_mean if right is left else trailing_sums(right, (span,))[span] / span
    total = (left - left_mean) * (right - right_mean)
    for lag in range(1, span):
        total[lag:] += (left[:-lag] - left_mean[lag:]) * (right[:-lag] - right_mean[lag:])
    return total


def _without_start(values: Floats, count: int) -> Floats:
    trimmed = values.copy()
    trimmed[:count] = np.nan
    return trimmed
