"""Compares two versions with uncertainty: day by day where both know their losses, else by errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean

from mltrainer_models.evaluation import ModelEvaluation

DEFAULT_MIN_DAYS = 60
FEWEST_PERIODS = 10
# Bartlett weights need a bandwidth well above the overlap of labels to see most of their correlation.
_LAGS_PER_OVERLAP = 3
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its uncertainty; `bound` is what it exceeds with the confidence asked for."""

    value: float
    standard_error: float
    bound: float


@dataclass(frozen=True, slots=True)
class NotComparableError(Exception):
    """Two evaluations cannot be held against each other."""

    why: str


def loss_reduction(
    candidate: ModelEvaluation, present: ModelEvaluation, *, confidence: float, min_days: int
) -> tuple[Estimate, int]:
    """Estimates by which fraction the candidate lowers the loss per day, and over how many days.

    Losses of the same day share its luck, so their differences are what is averaged. The standard error
    allows for correlation over `3 × overlap` days (Newey-West, at least their automatic lag), the bound uses
    Student's distribution with as many degrees of freedom as there are periods without overlap.

    Raises:
        NotComparableError: Unlike losses, other symbols, or too few days that both were tested on.
    """
    if candidate.loss_kind is not present.loss_kind:
        raise NotComparableError(f"their losses are {candidate.loss_kind} and {present.loss_kind}")
    if candidate.symbols != present.symbols:
        raise NotComparableError("they were tested on other symbols")
    pairs = _shared_days(candidate, present)
    overlap = max(candidate.overlap_days, present.overlap_days)
    periods = len(pairs) // (overlap + 1)
    if len(pairs) < min_days or periods < FEWEST_PERIODS:
        raise NotComparableError(
            f"they share {len(pairs)} test days ({periods} without overlap), less than {min_days} "
            f"({FEWEST_PERIODS})"
        )
    mean_loss = fmean(theirs for _, theirs in pairs)
    if mean_loss <= 0:
        raise NotComparableError("the present version's loss is not above zero, so there is no share of it")
    reduction = fmean(theirs - own for own, theirs in pairs) / mean_loss
    # Of the ratio, not of the difference alone: the mean loss is uncertain as well.
    deviations = [theirs - own - reduction * theirs for own, theirs in pairs]
    error = hac_error(deviations, _LAGS_PER_OVERLAP * overlap) / mean_loss
    bound = reduction - student_quantile(confidence, periods - 1) * error
    return Estimate(reduction, error, bound), len(pairs)


def metric_gain(
    own: float, own_error: float, other: float, other_error: float | None, *, confidence: float
) -> Estimate:
    """Estimates by how much one metric exceeds another, as a fraction of the other's size.

    The two are taken as independent, which errs to caution for versions tested on the same days. An unknown
    error of the other is taken to be as large as its own.
    """
    size = abs(other) or 1.0
    error = sqrt(own_error**2 + (own_error if other_error is None else other_error) ** 2) / size
    gain = (own - other) / size
    return Estimate(gain, error, gain - _NORMAL.inv_cdf(confidence) * error)


def lower_bound(value: float, error: float, confidence: float) -> float:
    """Returns what a metric exceeds with a confidence."""
    return value - _NORMAL.inv_cdf(confidence) * error


def hac_error(values: Sequence[float], minimum_lag: int) -> float:
    """Returns the standard error of a mean of correlated values (Newey and West, Bartlett weights)."""
    count = len(values)
    mean = fmean(values)
    centred = [value - mean for value in values]
    lag = min(max(int(4 * (count / 100) ** (2 / 9)), minimum_lag), count - 1)
    variance = sum(value * value for value in centred)
    for step in range(1, lag + 1):
        products = sum(later * earlier for later, earlier in zip(centred[step:], centred, strict=False))
        variance += 2 * (1 - step / (lag + 1)) * products
    return sqrt(max(variance, 0.0)) / count


def student_quantile(confidence: float, degrees: int) -> float:
    """Approximates a quantile of Student's distribution (Cornish-Fisher), to 0.002 from 9 degrees on."""
    z = _NORMAL.inv_cdf(confidence)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(sum(term / degrees**power for power, term in enumerate(terms)))


def _shared_days(candidate: ModelEvaluation, present: ModelEvaluation) -> list[tuple[float, float]]:
    theirs = {one.day: one for one in present.losses}
    pairs = []
    for one in candidate.losses:
        other = theirs.get(one.day)
        # Another number of rows: a symbol was missing for one of them, so the losses are of other things.
        if other is not None and other.rows == one.rows:
            pairs.append((one.loss, other.loss))
    return pairs
