"""Sharpe ratios that allow for short, skewed samples and for how many strategies were tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import e, sqrt
from statistics import NormalDist

import numpy as np

from mltrainer_trainer.domain.inference import hac_mean, normal_below
from mltrainer_trainer.domain.training_data import Floats

_EULER_GAMMA = 0.5772156649015329
# The standard library's: importing scipy.special for two functions costs an attempt half a CPU second.
_NORMAL = NormalDist()
_FEWEST_RETURNS = 3


@dataclass(frozen=True, slots=True)
class Moments:
    """What the distribution of an estimated Sharpe ratio depends on; `kurtosis` is 3 for normal returns."""

    count: int
    skewness: float = 0.0
    kurtosis: float = 3.0


def sharpe_ratio(returns: Floats) -> float:
    """Mean over sample standard deviation, per period; zero where nothing varies."""
    if len(returns) < 2 or float(np.ptp(returns)) == 0.0:
        return 0.0
    return float(returns.mean()) / float(returns.std(ddof=1))


def sharpe_error(returns: Floats) -> float:
    """Gives the standard error of the Sharpe ratio of autocorrelated returns, by linearising it."""
    if len(returns) < 2 or float(np.ptp(returns)) == 0.0:
        return 0.0
    standard = (returns - returns.mean()) / returns.std(ddof=1)
    return hac_mean(standard - sharpe_ratio(returns) / 2 * (standard**2 - 1)).standard_error


def moments(returns: Floats) -> Moments:
    """Takes the moments of returns; those of a normal distribution where nothing varies."""
    if len(returns) < 2 or float(np.ptp(returns)) == 0.0:
        return Moments(len(returns))
    standard = (returns - returns.mean()) / returns.std()
    return Moments(len(returns), float((standard**3).mean()), float((standard**4).mean()))


def probabilistic_sharpe(observed: float, benchmark: float, sample: Moments) -> float:
    """Gives the probability that the true Sharpe ratio exceeds a benchmark, all per period.

    Bailey and López de Prado (2012). Zero where the sample is too short or too skewed to say.
    """
    spread = 1 - sample.skewness * observed + (sample.kurtosis - 1) / 4 * observed**2
    if sample.count < _FEWEST_RETURNS or spread <= 0:
        return 0.0
    return normal_below((observed - benchmark) * sqrt((sample.count - 1) / spread))


def expected_maximum_sharpe(trial_count: int, sharpe_variance: float) -> float:
    """Expects the best Sharpe ratio of that many tries without skill (Bailey and López de Prado 2014)."""
    if trial_count < 2 or sharpe_variance <= 0:
        return 0.0
    first = _NORMAL.inv_cdf(1 - 1 / trial_count)
    second = _NORMAL.inv_cdf(1 - 1 / (trial_count * e))
    return sqrt(sharpe_variance) * ((1 - _EULER_GAMMA) * first + _EULER_GAMMA * second)


def deflated_sharpe(returns: Floats, trial_sharpe_ratios: Sequence[float], trial_count: int = 0) -> float:
    """Gives the probability that a strategy chosen as the best of all tries has any skill.

    `trial_sharpe_ratios` are those of every try of the study, per period of the same length as `returns`;
    their number and their spread set the benchmark. Tries whose ratio is unknown are counted by
    `trial_count`, and taken to spread as the known ones do, or, where fewer than two are known, as those of
    strategies without skill: 1 / number of returns.
    """
    observed = sharpe_ratio(returns)
    if observed == 0.0:
        return 0.0
    known = np.asarray(trial_sharpe_ratios, dtype=np.float64)
    variance = float(known.var(ddof=1)) if len(known) > 1 else 1 / len(returns)
    benchmark = expected_maximum_sharpe(max(trial_count, len(known)), variance)
    return probabilistic_sharpe(observed, benchmark, moments(returns))
