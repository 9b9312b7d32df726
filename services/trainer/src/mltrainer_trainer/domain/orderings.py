"""Judges orders: how symbols of a date are ranked by what they do next."""

import numpy as np

from mltrainer_trainer.domain.metrics import OutOfSample, centred_by_date, ranked_by_date
from mltrainer_trainer.domain.training_data import Floats

# NDCG reads the first so many of each date, with gains as large as the places from the bottom up.
_FIRST = 5


def order_losses(result: OutOfSample) -> Floats:
    """Spreads 1 - the rank correlation of each date over its rows; an order without differences has 1."""
    numbers = np.unique(result.date, return_inverse=True)[1]
    left, right = (
        centred_by_date(result.date, ranked_by_date(result.date, it))
        for it in (result.predictions, result.labels)
    )
    squares = [np.bincount(numbers, weights=it**2) for it in (left, right)]
    scale = np.sqrt(squares[0] * squares[1])[numbers]
    count = np.bincount(numbers)[numbers]
    agreement = np.divide(count * left * right, scale, out=np.zeros(len(result)), where=scale > 0)
    return np.asarray(1.0 - agreement)


def discounted_gain(result: OutOfSample) -> Floats:
    """Gives the normalised discounted gain of the first five of each date, in time order.

    The gain of a symbol is its place from the bottom, from 0 to 1; symbols of equal predictions share the
    mean gain of their group, so that an order without differences is worth what chance is.
    """
    numbers = np.unique(result.date, return_inverse=True)[1]
    count = np.bincount(numbers)[numbers]
    gains = (ranked_by_date(result.date, result.labels) - 1) / np.maximum(count - 1, 1)
    predicted = ranked_by_date(result.date, result.predictions)
    groups = np.unique(numbers * 2.0 * len(result) + predicted, return_inverse=True)[1]
    shared = np.bincount(groups, weights=gains)[groups] / np.bincount(groups)[groups]
    ours, best = _first(numbers, predicted, shared), _first(numbers, gains, gains)
    return np.asarray(np.divide(ours, best, out=np.ones_like(best), where=best > 0))


def _first(numbers: np.ndarray[tuple[int], np.dtype[np.intp]], by: Floats, gains: Floats) -> Floats:
    order = np.lexsort((-by, numbers))
    starts = np.searchsorted(numbers[order], numbers[order])
    place = np.arange(len(order)) - starts
    worth = np.where(place < _FIRST, gains[order] / np.log2(place + 2.0), 0.0)
    return np.asarray(np.bincount(numbers[order], weights=worth))
