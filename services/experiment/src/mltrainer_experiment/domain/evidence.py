"""How sure a series of daily differences is: valid at every look, also where days depend on each other."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Variance of the effect, in daily standard deviations, that the mixture expects; fixed before it was tested.
MIXTURE_VARIANCE = 1.0 / 60.0
_SMALLEST_EXPECTED_COUNT = 5.0


@dataclass(frozen=True, slots=True)
class Look:
    """What is known after some days: interval and p-value hold at all looks together."""

    days: int
    effect: float
    lower: float
    upper: float
    p_value: float


def no_look(effect: float = 0.0, days: int = 0) -> Look:
    """Returns what is known before the first look: nothing but a mean."""
    return Look(days, effect, -math.inf, math.inf, 1.0)


def bandwidth(days: int) -> int:
    """Returns the number of lags, `floor(4 (n/100)^(2/9))`: 2 at 20 days, 4 at 250."""
    return min(days - 1, math.floor(4.0 * math.pow(days / 100.0, 2.0 / 9.0)))


def long_run_variance(differences: NDArray[np.float64]) -> float:
    """Estimates the variance of `sqrt(n)` times the mean after Newey and West (Bartlett weights)."""
    days = len(differences)
    centred = differences - differences.mean()
    lags = bandwidth(days)
    total = float(centred @ centred)
    for lag in range(1, lags + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0)) * float(centred[lag:] @ centred[:-lag])
    return total / days


def looks(differences: Sequence[float], alpha: float, first_look_days: int) -> Iterator[Look]:
    """Yields one look a day from the first; the p-value never rises."""
    series = np.asarray(differences, dtype=np.float64)
    p_value = 1.0
    for days in range(first_look_days, len(series) + 1):
        seen = series[:days]
        effect = float(seen.mean())
        deviation = math.sqrt(max(long_run_variance(seen), 0.0))
        if deviation <= 1e-12 * max(abs(effect), float(np.abs(seen).max())):
            yield no_look(effect, days)
            continue
        p_value = min(p_value, _p_value(effect / deviation, days))
        half_width = deviation * _half_width(days, alpha)
        yield Look(days, effect, effect - half_width, effect + half_width, p_value)


def _p_value(standardised_effect: float, days: int) -> float:
    growth = 1.0 + days * MIXTURE_VARIANCE
    exponent = MIXTURE_VARIANCE * (days * standardised_effect) ** 2 / (2.0 * growth)
    log_ratio = exponent - 0.5 * math.log(growth)
    return math.exp(-max(log_ratio, 0.0))


def _half_width(days: int, alpha: float) -> float:
    growth = 1.0 + days * MIXTURE_VARIANCE
    return math.sqrt(growth / MIXTURE_VARIANCE * (2.0 * math.log(1.0 / alpha) + math.log(growth))) / days


def sample_ratio_p_value(observed: Sequence[int], shares: Sequence[float]) -> float:
    """Tests two counts against their shares by chi-square; 1 where too few are expected for the test."""
    total = sum(observed)
    expected = [share * total for share in shares]
    if min(expected) < _SMALLEST_EXPECTED_COUNT:
        return 1.0
    statistic = sum((count - mean) ** 2 / mean for count, mean in zip(observed, expected, strict=True))
    return math.erfc(math.sqrt(statistic / 2.0))
