"""Draws configurations by Optuna's tree-structured Parzen estimator; imported by attempts only."""

import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from mltrainer_trainer.domain.catalogue import Choice, Parameter, UniformRange
from mltrainer_trainer.domain.sampling import Observation, Space

# Fewer observations tell the estimator nothing.
_STARTUP_TRIALS = 5


def draw_by_estimator(space: Space, seen: Sequence[Observation], seed: int) -> dict[str, Parameter]:
    """Draws one value for every name, the same ones for the same arguments.

    The study lives in memory for one draw only: what was seen is added to it, and the sampler is seeded by
    how much was seen, so an interrupted search goes on as if it had not been.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=_STARTUP_TRIALS, multivariate=False, seed=(seed * 1_000_003 + len(seen)) % 2**32
    )
    study = optuna.create_study(sampler=sampler)
    distributions = {name: _distribution(one) for name, one in space.items()}
    for observation in seen:
        study.add_trial(_trial(observation, space, distributions))
    drawn: dict[str, Parameter] = study.ask(fixed_distributions=distributions).params
    return drawn


def _distribution(space: UniformRange | Choice) -> BaseDistribution:
    if isinstance(space, Choice):
        return CategoricalDistribution(space.values)
    if space.whole:
        return IntDistribution(math.ceil(space.low), math.floor(space.high), log=space.log_scale)
    return FloatDistribution(space.low, space.high, log=space.log_scale)


def _trial(
    observation: Observation, space: Space, distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    # Defaults may lie outside of the space, such as a zero beside a logarithmic range.
    known = {
        name: value
        for name, value in observation.parameters.items()
        if name in space and _contains(space[name], value)
    }
    finite = math.isfinite(observation.objective)
    state = TrialState.FAIL if not finite else TrialState.COMPLETE
    if finite and not observation.is_complete:
        state = TrialState.PRUNED
    return optuna.create_trial(
        state=state,
        value=observation.objective if state is TrialState.COMPLETE else None,
        params=known,
        distributions={name: distributions[name] for name in known},
        intermediate_values={0: observation.objective} if finite else {},
    )


def _contains(space: UniformRange | Choice, value: Parameter) -> bool:
    if isinstance(space, Choice):
        return value in space.values
    return isinstance(value, int | float) and space.low <= value <= space.high
