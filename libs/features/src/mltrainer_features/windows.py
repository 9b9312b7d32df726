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


def trailing_sums(values: Floats, spans: Sequence[int], last: int | None = None) -> dict[int, Floats]:
    """Sums the last `span` values for several spans in one pass; of the `last` rows only where given.

    Both ways add the same numbers in the same order: every window its own, newest first.
    """
    if last is not None:
        running = np.add.accumulate(_windows(values, max(spans), last), axis=1)
        return {span: running[:, span - 1] for span in spans}
    total = values.copy()
    sums = {1: values} if 1 in spans else {}
    for lag in range(1, max(spans)):
        total[lag:] += values[:-lag]
        if lag + 1 in spans:
            sums[lag + 1] = _without_start(total, lag)
    return sums


def trailing_weighted_sum(values: Floats, weights: Sequence[float], last: int | None = None) -> Floats:
    """Sums the last values times `weights`, the newest value first."""
    if last is not None:
        products = _windows(values, len(weights), last) * _along_windows(np.array(weights), values)
        return np.add.accumulate(products, axis=1)[:, -1]
    total = values * weights[0]
    for lag, weight in enumerate(weights[1:], start=1):
        total[lag:] += values[:-lag] * weight
    return _without_start(total, len(weights) - 1)


def trailing_maximum(values: Floats, span: int, last: int | None = None) -> Floats:
    """Takes the largest of the last `span` values, doubling the covered length each step."""
    if last is not None:
        maximum: Floats = np.max(_windows(values, span, last), axis=1)
        return maximum
    largest, covered = values.copy(), 1
    while covered < span:
        step = min(covered, span - covered)
        widened = largest.copy()
        np.maximum(largest[step:], largest[:-step], out=widened[step:])
        largest, covered = widened, covered + step
    return _without_start(largest, span - 1)


def trailing_cross_product(left: Floats, right: Floats, span: int, last: int | None = None) -> Floats:
    """Sums (left - its mean) (right - its mean) over the last `span` values."""
    left_mean = trailing_sums(left, (span,), last)[span] / span
    right_mean = left_mean if right is left else trailing_sums(right, (span,), last)[span] / span
    if last is not None:
        left_gap = _windows(left, span, last) - left_mean[:, None]
        right_gap = left_gap if right is left else _windows(right, span, last) - right_mean[:, None]
        return np.add.accumulate(left_gap * right_gap, axis=1)[:, -1]
    total = (left - left_mean) * (right - right_mean)
    for lag in range(1, span):
        total[lag:] += (left[:-lag] - left_mean[lag:]) * (right[:-lag] - right_mean[lag:])
    return total


def newest(values: Floats, last: int | None) -> Floats:
    """Keeps the `last` rows where that is given."""
    return values if last is None else values[max(0, values.shape[0] - last) :]


def _windows(values: Floats, span: int, last: int) -> Floats:
    """Lays the windows that end at the last rows side by side: row, lag (newest first), symbol."""
    missing = last + span - 1 - values.shape[0]
    if missing > 0:
        values = np.concatenate([np.full((missing, *values.shape[1:]), np.nan), values])
    places = np.arange(values.shape[0] - last, values.shape[0])[:, None] - np.arange(span)
    windows: Floats = values[places]
    return windows


def _along_windows(weights: Floats, values: Floats) -> Floats:
    return weights.reshape(1, -1, *[1] * (values.ndim - 1))


def _without_start(values: Floats, count: int) -> Floats:
    trimmed = values.copy()
    trimmed[:count] = np.nan
    return trimmed
