"""Forecasts spot availability from the lengths of past runs.

Runs are heavy-tailed: most end within minutes, some last for days. Up and down runs are therefore mixtures of
a short and a long geometric length, and how long a run has lasted tells which of the two it probably is.
"""

from dataclasses import dataclass

import numpy as np

from mltrainer_scheduling.jobs import Flags, Floats, Integers

PHASES = 4
"""Up short, up long, down short, down long."""

_SWEEPS = 25
_SHARE_BOUNDS = (0.02, 0.98)


@dataclass(frozen=True, slots=True)
class Prior:
    """Pseudo-observations that stand in for a zone nobody has watched yet, in ticks."""

    up: tuple[float, float] = (6.0, 90.0)
    down: tuple[float, float] = (6.0, 60.0)
    runs: float = 3.0


@dataclass(frozen=True, slots=True)
class AvailabilityModel:
    """Mean lengths of short and long runs in ticks, and the share of each, for up and for down."""

    up_ticks: tuple[float, float]
    up_share: tuple[float, float]
    down_ticks: tuple[float, float]
    down_share: tuple[float, float]

    def transitions(self) -> Floats:
        """Returns the chance of each phase in the next tick, by phase in this one."""
        table = np.zeros((PHASES, PHASES))
        for phase, ticks in enumerate((*self.up_ticks, *self.down_ticks)):
            other = self.down_share if phase < 2 else self.up_share
            table[phase, phase] = 1.0 - 1.0 / ticks
            table[phase, (2, 3) if phase < 2 else (0, 1)] = np.array(other) / ticks
        return table

    def sample(
        self, paths: int, ticks: int, random: np.random.Generator, available: bool | None = None
    ) -> Flags:
        """Draws availability series that begin as in the long run, or as availability is now."""
        steps = np.cumsum(self.transitions(), axis=1)
        begin = self._long_run()
        if available is not None:
            begin = begin * (np.arange(PHASES) < 2 if available else np.arange(PHASES) >= 2)
        phase = random.choice(PHASES, paths, p=begin / begin.sum())
        series = np.zeros((paths, ticks), np.bool_)
        for tick in range(ticks):
            series[:, tick] = phase < 2
            phase = np.minimum((random.random(paths)[:, None] > steps[phase]).sum(axis=1), PHASES - 1)
        return series

    def _long_run(self) -> Floats:
        up, down = np.array(self.up_share) * self.up_ticks, np.array(self.down_share) * self.down_ticks
        both = np.concatenate([up, down])
        return np.asarray(both)


def learn_availability(history: Flags, prior: Prior | None = None) -> AvailabilityModel:
    """Fits the model to one zone's past, oldest tick first; with no past it is the prior."""
    prior = prior or Prior()
    available, ticks = run_lengths(history)
    up_ticks, up_share = _mixture(ticks[available], prior.up, prior.runs)
    down_ticks, down_share = _mixture(ticks[~available], prior.down, prior.runs)
    return AvailabilityModel(up_ticks, up_share, down_ticks, down_share)


def run_lengths(history: Flags) -> tuple[Flags, Integers]:
    """Returns for each run of a series whether it was available, and its length."""
    series = np.asarray(history, np.bool_)
    if not len(series):
        return np.zeros(0, np.bool_), np.zeros(0, np.int64)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1, [len(series)]])
    return series[edges[:-1]], np.diff(edges)


def run_ages(series: Flags, before: Flags) -> Integers:
    """Returns for each tick of a series how long its run has lasted by then, counting what came before."""
    whole = np.concatenate([np.asarray(before, np.bool_), np.asarray(series, np.bool_)])
    _, ticks = run_lengths(whole)
    ages = np.concatenate([np.arange(1, length + 1) for length in ticks]) if len(ticks) else np.zeros(0)
    return np.asarray(ages[len(before) :], np.int64)


def beliefs(ticks: Floats, share: Floats, age: Integers) -> Floats:
    """Returns, per row, how likely its run is a short and a long one, given how long it has lasted."""
    survived = np.log(share) + age[:, None] * np.log1p(-1.0 / ticks)
    chance = np.exp(survived - survived.max(axis=1, keepdims=True))
    return np.asarray(chance / chance.sum(axis=1, keepdims=True))


def _mixture(
    ticks: Integers, prior: tuple[float, float], pseudo: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Fits two geometric lengths by expectation maximisation; the prior's runs count `pseudo` times."""
    seen = np.concatenate([ticks, prior])
    weight = np.concatenate([np.ones(len(ticks)), [pseudo, pseudo]])
    mean, share = np.array(prior), np.array([0.5, 0.5])
    for _ in range(_SWEEPS):
        log = np.log(share)[:, None] - np.log(mean)[:, None] - seen / mean[:, None]
        belongs = np.exp(log - log.max(axis=0))
        belongs *= weight / belongs.sum(axis=0)
        mass = belongs.sum(axis=1)
        share = np.clip(mass / weight.sum(), *_SHARE_BOUNDS)
        share /= share.sum()
        short, long = np.maximum((belongs * seen).sum(axis=1) / np.maximum(mass, 1e-9), 1.5)
        mean = np.array([short, max(long, 1.5 * short)])
    return (float(mean[0]), float(mean[1])), (float(share[0]), float(share[1]))
