"""Tests that stay honest under dependence and search."""

from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np

from mltrainer_trainer.domain.training_data import Floats


@dataclass(frozen=True, slots=True)
class MeanEstimate:
    """A mean of dependent values with its standard error; `p_value` asks whether the mean is above zero."""

    mean: float
    standard_error: float
    p_value: float
    count: int

    @property
    def t_statistic(self) -> float:
        """The mean in standard errors; zero where there is no spread."""
        return self.mean / self.standard_error if self.standard_error > 0 else 0.0


def automatic_lag(count: int) -> int:
    """Chooses the lag of Newey and West (1994) for a series of that length."""
    return int(4 * (count / 100) ** (2 / 9))


def hac_mean(values: Floats, minimum_lag: int = 0) -> MeanEstimate:
    """Estimates a mean with Bartlett weights up to the automatic or the minimum lag, the longer one.

    Overlapping labels of h bars correlate up to lag h - 1: pass that as `minimum_lag`.
    """
    count = len(values)
    mean = float(values.mean()) if count else 0.0
    centred = values - mean
    lag = min(max(automatic_lag(count), minimum_lag), max(count - 1, 0))
    variance = float(centred @ centred)
    for step in range(1, lag + 1):
        variance += 2 * (1 - step / (lag + 1)) * float(centred[step:] @ centred[:-step])
    error = float(np.sqrt(max(variance, 0.0))) / count if count else 0.0
    p_value = normal_below(-mean / error) if error > 0 else 1.0
    return MeanEstimate(mean, error, p_value, count)


def ratio_error(numerator: Floats, denominator: Floats, minimum_lag: int = 0) -> float:
    """Gives the standard error of sum(numerator) / sum(denominator) of dependent dates, linearised."""
    mean = float(denominator.mean()) if len(denominator) else 0.0
    if mean == 0.0:
        return 0.0
    ratio = float(numerator.mean()) / mean
    return hac_mean(numerator - ratio * denominator, minimum_lag).standard_error / abs(mean)


def deflate_p_value(p_value: float, trial_count: int) -> float:
    """Raises a p-value to what the best of so many independent tries shows by chance (Šidák 1967)."""
    return float(-np.expm1(max(trial_count, 1) * np.log1p(-min(p_value, 1 - 1e-16))))


def normal_below(value: float) -> float:
    """Gives the probability of a standard normal value below this one."""
    # Not `statistics.NormalDist.cdf`, which loses the small p-values to cancellation.
    return 0.5 * erfc(-value / sqrt(2))
