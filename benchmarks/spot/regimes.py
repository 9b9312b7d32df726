"""Made-up availability: short, long and heavy-tailed runs, days, a market that changes."""

from collections.abc import Callable

import numpy as np
from mltrainer_scheduling.jobs import Flags

TICKS = 12_000
ZONES = 3
_DAY_TICKS = 443


def regimes(seed: int = 7) -> dict[str, dict[str, Flags]]:
    """Returns zones by regime."""
    makers: dict[str, Callable[[np.random.Generator, int], Flags]] = {
        "Markov, minutes": lambda random, zone: _runs(_geometric(random, 8, 4 + 4 * zone)),
        "Markov, hours": lambda random, zone: _runs(_geometric(random, 80, 30 + 40 * zone)),
        "Pareto tails": lambda random, zone: _runs(_pareto(random, 1.1 + 0.2 * zone)),
        "nights only": _nights,
        "a market that turns": lambda random, _zone: np.concatenate(
            [
                _runs(_geometric(random, 100, 15))[: TICKS // 2],
                _runs(_geometric(random, 15, 60))[: TICKS // 2],
            ]
        ),
        "never": lambda _random, _zone: np.zeros(TICKS, np.bool_),
        "always": lambda _random, _zone: np.ones(TICKS, np.bool_),
    }
    return {
        name: {
            f"zone {zone}": make(np.random.default_rng((seed, number, zone)), zone) for zone in range(ZONES)
        }
        for number, (name, make) in enumerate(makers.items())
    }


def _runs(lengths: np.ndarray) -> Flags:
    state = np.arange(len(lengths)) % 2 == 0
    return np.repeat(state, lengths)[:TICKS]


def _geometric(random: np.random.Generator, up: float, down: float) -> np.ndarray:
    pairs = np.column_stack([random.geometric(1 / up, TICKS), random.geometric(1 / down, TICKS)])
    return pairs.ravel()


def _pareto(random: np.random.Generator, shape: float) -> np.ndarray:
    return np.minimum(2 + 3 * random.pareto(shape, TICKS), 5_000).astype(np.int64)


def _nights(random: np.random.Generator, zone: int) -> Flags:
    hour = (np.arange(TICKS) % _DAY_TICKS) / _DAY_TICKS * 24
    chance = np.where(hour < 8 + 2 * zone, 0.98, 0.15)
    held = np.repeat(random.random(TICKS // 10 + 1), 10)[:TICKS]
    return np.asarray(held < chance)
