"""Stacks models by their out-of-fold predictions, and sets slope and level of what comes out.

Every number here is estimated on validation rows, which end before the first test row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log, sqrt

import numpy as np
from mltrainer_features import TargetKind

from mltrainer_trainer.domain.inference import hac_mean
from mltrainer_trainer.domain.metrics import sum_by_date
from mltrainer_trainer.domain.objectives import OBJECTIVES, Blending
from mltrainer_trainer.domain.training_data import Floats, Integers

MAXIMUM_MEMBERS = 8
# Members that are worse than the best by more than this share of its mean squared error carry no weight.
_WORST = 1.1
# Shares of estimated weights, the rest being equal ones, and by how much they must be better to be believed.
_ESTIMATED_SHARES = (0.5, 1.0)
_BELIEVED = 0.995
# What the level of a log variance may cost in mean squared error, to gain in QLIKE: one part in 400.
_LEVEL_TOLERANCE = 0.0025
_LARGEST_EXPONENT = 50.0


@dataclass(frozen=True, eq=False, slots=True)
class OutOfFold:
    """Validation rows with the prediction of each member, a column per member, and the fold of each row."""

    date: Integers
    fold: Integers
    labels: Floats
    centre: Floats
    predictions: Floats


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Predicts centre + slope * (weighted predictions - centre) + level.

    Attributes:
        weights: Of the members by name; not negative, with sum 1.
        slope: In [0, 1]: 0 predicts the centre, which is zero for returns and the training mean otherwise.
        level: Added to log variances, which are read as variances, too.
        objective: Mean squared error out of fold, each fold predicted with the weights of the others.
    """

    weights: Mapping[str, float]
    slope: float
    level: float
    objective: float

    @property
    def is_plain(self) -> bool:
        """Tells whether it is one member as it is."""
        return len(self.weights) == 1 and self.slope == 1.0 and self.level == 0.0

    def combine(self, predictions: Mapping[str, Floats], centre: Floats | float) -> Floats:
        """Combines the predictions of the members."""
        total = sum(weight * predictions[name] for name, weight in self.weights.items())
        return np.asarray(centre + self.slope * (total - centre) + self.level)


def build_ensemble(names: Sequence[str], rows: OutOfFold, target: TargetKind, horizon_bars: int) -> Ensemble:
    """Stacks the members where that is better out of fold than the best of them, and calibrates the result.

    `names` are in the order of the columns, best first. Weights are equal unless estimated ones are clearly
    better on folds they were not estimated on: estimates of weights are noisier than what they gain.
    """
    losses = ((rows.predictions - rows.labels[:, np.newaxis]) ** 2).mean(axis=0)
    count = int((losses <= _WORST * losses[0]).sum()) if losses[0] > 0 else 1
    order = np.argsort(losses, kind="stable")[:count]
    kept = rows.predictions[:, order]
    share, stacked = 0.0, _cross_fitted_loss(rows, kept, 0.0)
    for other in _ESTIMATED_SHARES:
        loss = _cross_fitted_loss(rows, kept, other)
        if loss < _BELIEVED * stacked:
            share, stacked = other, loss
    weights = stacked_weights(rows.labels, kept, share)
    if count == 1 or stacked >= float(losses[order[0]]):
        weights, stacked = np.eye(count)[0], float(losses[order[0]])
    total = kept @ weights
    slope, level = 1.0, 0.0
    if OBJECTIVES[target].blending is Blending.LEVELLED:
        level = variance_level(rows.labels - total)
    else:
        slope = shrinkage_slope(rows.date, rows.labels - rows.centre, total - rows.centre, horizon_bars)
    by_name = {
        names[column]: float(weight) for column, weight in zip(order, weights, strict=True) if weight > 0
    }
    return Ensemble(by_name, slope, level, stacked)


def stacked_weights(labels: Floats, predictions: Floats, share: float) -> Floats:
    """Mixes equal weights with those of least squared error."""
    equal = np.full(predictions.shape[1], 1 / predictions.shape[1])
    return (1 - share) * equal + share * simplex_weights(labels, predictions) if share else equal


def simplex_weights(labels: Floats, predictions: Floats) -> Floats:
    """Minimises the squared error over weights that are not negative and sum to 1.

    Every set of members is solved exactly; there are few. The best solution without a negative weight is the
    minimum.
    """
    errors = predictions - labels[:, np.newaxis]
    products = errors.T @ errors / len(labels)
    best: Floats = np.eye(len(products))[0]
    least = np.inf
    for chosen in _subsets(len(products)):
        weights = np.zeros(len(products))
        weights[chosen] = _equality_weights(products[np.ix_(chosen, chosen)])
        loss = float(weights @ products @ weights)
        if weights.min() >= 0 and loss < least * (1 - 1e-9):
            best, least = weights, loss
    return best


def shrinkage_slope(date: Integers, labels: Floats, predictions: Floats, horizon_bars: int) -> float:
    """Says by how much predictions should be scaled down, between 0 and 1.

    The slope of labels on predictions is itself shrunk by 1 - 1 / t^2, never below zero: what does not differ
    from chance is not followed (the positive part of James and Stein's estimator).
    """
    spread = sum_by_date(date, predictions**2)
    if float(spread.mean()) <= 0.0:
        return 0.0
    slope = float(sum_by_date(date, predictions * labels).mean()) / float(spread.mean())
    moments = sum_by_date(date, predictions * (labels - slope * predictions))
    error = hac_mean(moments, horizon_bars - 1).standard_error / float(spread.mean())
    if slope <= 0 or error <= 0:
        return 0.0 if slope <= 0 else min(slope, 1.0)
    return float(np.clip(slope * max(0.0, 1 - (error / slope) ** 2), 0.0, 1.0))


def variance_level(errors: Floats) -> float:
    """Says how far to raise or lower log variances, so that their exponentials are less biased.

    The mean of a logarithm is below the logarithm of the mean (Jensen): QLIKE is least where log variances
    are raised by log(mean(exp(e))), Duan's smearing estimate, the squared error where they are left alone.
    They are raised towards the former as far as costs half a per cent of mean squared error.
    """
    smearing = log(float(np.exp(np.minimum(errors, _LARGEST_EXPONENT)).mean()))
    return min(max(smearing, 0.0), sqrt(_LEVEL_TOLERANCE * float((errors**2).mean())))


def _cross_fitted_loss(rows: OutOfFold, predictions: Floats, share: float) -> float:
    loss = 0.0
    folds = np.unique(rows.fold)
    for fold in folds:
        inside = rows.fold == fold
        outside = ~inside if len(folds) > 1 else inside
        weights = stacked_weights(rows.labels[outside], predictions[outside], share)
        loss += float(((rows.labels[inside] - predictions[inside] @ weights) ** 2).sum())
    return loss / len(rows.labels)


def _subsets(count: int) -> Iterator[list[int]]:
    for size in range(1, count + 1):
        yield from map(list, combinations(range(count), size))


def _equality_weights(products: Floats) -> Floats:
    """Solves for weights with sum 1; equal weights where the members do not differ."""
    ridge = 1e-9 * float(np.trace(products)) / len(products) or 1.0
    solved = np.linalg.solve(products + ridge * np.eye(len(products)), np.ones(len(products)))
    return np.asarray(solved / solved.sum())
