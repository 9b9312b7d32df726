"""Compares what a model sees with the deciles it was trained on (ADR 0035).

Rows of one event time move together and days follow one another, so the evidence is counted in effective
event times, never in rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import numpy as np
from mltrainer_models import FeatureReference, ModelReference
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MINIMUM_EVENT_TIMES = 20
MINIMUM_EFFECTIVE_COUNT = 5.0
MATERIAL_PSI = 0.1
_HIGHEST_AUTOCORRELATION = 0.98
_UPPER_BOUND = 1.645
_KOLMOGOROV_TERMS = 100


class DriftConclusion(StrEnum):
    """What a report says."""

    STABLE = "STABLE"
    DRIFTED = "DRIFTED"
    NOT_ENOUGH_DATA = "NOT_ENOUGH_DATA"


@dataclass(frozen=True, slots=True)
class Window:
    """The newest rows of one version, one per symbol and event time."""

    event_times: Floats
    feature_names: tuple[str, ...]
    features: Floats
    predictions: Floats

    def column(self, name: str) -> Floats | None:
        """Returns the values of a feature; None where the rows do not have it."""
        return self.features[:, self.feature_names.index(name)] if name in self.feature_names else None


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One column against its reference."""

    feature: str
    psi: float
    ks_statistic: float
    p_value: float
    drifted: bool = False
    effective_count: float = 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """All columns against their references."""

    conclusion: DriftConclusion
    features: tuple[FeatureDrift, ...] = ()
    reference_count: int = 0
    window_count: int = 0


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A comparison, of which version, and when."""

    model: str
    comparison: Comparison
    compute_time: datetime


def compare(reference: ModelReference, window: Window, level: float) -> Comparison:
    """Compares every column; `level` is the chance that any is called drifted when none is."""
    columns = [(one, window.column(one.name)) for one in reference.features]
    columns.append((reference.prediction, window.predictions))
    examined = [
        _examine(one, values, window.event_times, reference.rows)
        for one, values in columns
        if values is not None
    ]
    event_times = len(np.unique(window.event_times))
    adjusted = holm([one.p_value for one in examined])
    features = tuple(
        replace(
            one,
            p_value=p_value,
            drifted=event_times >= MINIMUM_EVENT_TIMES and p_value < level and one.psi >= MATERIAL_PSI,
        )
        for one, p_value in zip(examined, adjusted, strict=True)
    )
    conclusion = _conclude(features, event_times)
    return Comparison(conclusion, features, reference.rows, len(window.event_times))


def _conclude(features: Sequence[FeatureDrift], event_times: int) -> DriftConclusion:
    if any(one.drifted for one in features):
        return DriftConclusion.DRIFTED
    testable = sum(one.effective_count >= MINIMUM_EFFECTIVE_COUNT for one in features)
    if event_times < MINIMUM_EVENT_TIMES or 2 * testable < len(features):
        return DriftConclusion.NOT_ENOUGH_DATA
    return DriftConclusion.STABLE


def _examine(reference: FeatureReference, values: Floats, times: Floats, rows: int) -> FeatureDrift:
    finite = np.isfinite(values)
    values, times = values[finite], times[finite]
    edges, levels = _distinct_edges(reference.deciles)
    if len(values) == 0 or len(edges) == 0 or rows == 0:
        return FeatureDrift(reference.name, 0.0, 0.0, 1.0)
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).astype(np.float64)
    shares, expected = counts / len(values), np.diff(levels, prepend=0.0, append=1.0)
    distance = float(np.abs(np.cumsum(shares)[:-1] - levels).max())
    effective = effective_count(values, times)
    # The reference is taken to be as dependent as the window: the same design effect on both sides.
    evidence = effective / (1.0 + len(values) / rows)
    calibrated = population_stability_index(shares, expected, effective)
    p_value = min(
        1.0,
        2.0 * min(kolmogorov_p_value(distance, evidence), chi_square_tail(calibrated * evidence, len(edges))),
    )
    psi = population_stability_index(shares, expected, float(len(values)))
    return FeatureDrift(reference.name, psi, distance, p_value, effective_count=effective)


def _distinct_edges(deciles: Sequence[float]) -> tuple[Floats, Floats]:
    """Keeps the deciles that no other equals: at a point mass the reference's share is not known."""
    edges, counts = np.unique(np.asarray(deciles), return_counts=True)
    levels = np.cumsum(counts) / (len(deciles) + 1)
    return edges[counts == 1], levels[counts == 1]


def effective_count(values: Floats, times: Floats) -> float:
    """Returns how many independent observations the event times are worth: T (1 - r) / (1 + r).

    r is the upper 95 % bound of the first autocorrelation of the ranks of the means per event time, after
    Kendall's correction for its bias: a short series that looks independent often is not.
    """
    _, index, counts = np.unique(times, return_inverse=True, return_counts=True)
    length = len(counts)
    if length < 3:
        return 1.0
    means = np.bincount(index, weights=values) / counts
    ranks = np.argsort(np.argsort(means, kind="stable"), kind="stable") - (length - 1) / 2
    r = float((ranks[1:] * ranks[:-1]).sum() / (ranks * ranks).sum())
    r += (1 + 3 * r) / length
    r += _UPPER_BOUND * math.sqrt(max(1 - r * r, 0.0) / length)
    r = min(max(r, 0.0), _HIGHEST_AUTOCORRELATION)
    return max(1.0, length * (1 - r) / (1 + r))


def population_stability_index(shares: Floats, expected: Floats, count: float) -> float:
    """Returns the index of a sample of `count`, half an observation added to every bin against empty ones."""
    smoothed = (shares * count + 0.5) / (count + 0.5 * len(shares))
    return float(((smoothed - expected) * np.log(smoothed / expected)).sum())


def kolmogorov_p_value(distance: float, count: float) -> float:
    """Returns how probable so large a distance is, with Stephens' correction for small samples.

    The distance is taken at the deciles only; it is at most the full one, so the p-value errs upwards.
    """
    root = math.sqrt(count)
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return 1.0
    terms = (
        (-1) ** (term - 1) * math.exp(-2 * term * term * x * x) for term in range(1, _KOLMOGOROV_TERMS + 1)
    )
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def chi_square_tail(x: float, degrees: int) -> float:
    """Returns the probability that a chi-square variable of so many degrees of freedom exceeds `x`."""
    half = x / 2
    if half <= 0:
        return 1.0
    if degrees % 2:
        tail, degree = math.erfc(math.sqrt(half)), 1
    else:
        tail, degree = math.exp(-half), 2
    while degree < degrees:
        degree += 2
        tail += math.exp((degree / 2 - 1) * math.log(half) - half - math.lgamma(degree / 2))
    return min(1.0, tail)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values by Holm's step-down: valid whatever the dependence between the columns."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
