"""How a search draws the next configuration of a learner from those it has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mltrainer_trainer.domain.catalogue import Choice, Parameter, Parameters, UniformRange

Space = Mapping[str, UniformRange | Choice]


@dataclass(frozen=True, slots=True)
class Observation:
    """A configuration that was evaluated; an incomplete one only on the first of the folds."""

    parameters: Parameters
    objective: float
    is_complete: bool = True


class Sampler(Protocol):
    """Draws configurations; what it draws depends on its arguments alone, so a search can be replayed."""

    def __call__(self, space: Space, seen: Sequence[Observation], seed: int) -> dict[str, Parameter]:
        """Draws one value for every name of the space."""
        ...


def draw_at_random(space: Space, seen: Sequence[Observation], seed: int) -> dict[str, Parameter]:
    """Draws without looking at what was seen."""
    random = np.random.default_rng([seed, len(seen)])
    return {name: one.draw(random) for name, one in space.items()}
