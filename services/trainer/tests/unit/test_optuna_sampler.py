import math

from mltrainer_trainer.adapters.optuna_sampler import draw_by_estimator
from mltrainer_trainer.domain.catalogue import Choice, UniformRange
from mltrainer_trainer.domain.sampling import Observation, Space, draw_at_random

SPACE: Space = {
    "strength": UniformRange(1e-4, 10.0, log_scale=True),
    "leaves": UniformRange(2, 64, log_scale=True, whole=True),
    "kind": Choice(("a", "b", None)),
}


def loss_of(parameters: dict[str, object]) -> float:
    return abs(math.log10(float(str(parameters["strength"]))) + 2) + 0.01 * float(str(parameters["leaves"]))


def searched(draw: object, count: int) -> list[Observation]:
    seen: list[Observation] = []
    for _ in range(count):
        parameters = draw(SPACE, seen, 1)  # type: ignore[operator] # either of two samplers
        seen.append(Observation(parameters, loss_of(parameters)))
    return seen


def test_the_same_observations_give_the_same_draw_whoever_asks() -> None:
    seen = searched(draw_by_estimator, 8)

    assert draw_by_estimator(SPACE, seen, 5) == draw_by_estimator(SPACE, tuple(seen), 5)
    assert draw_at_random(SPACE, seen, 5) == draw_at_random(SPACE, seen, 5)


def test_draws_stay_within_their_space() -> None:
    for observation in searched(draw_by_estimator, 20):
        assert 1e-4 <= float(str(observation.parameters["strength"])) <= 10.0
        assert observation.parameters["leaves"] in range(2, 65)
        assert observation.parameters["kind"] in ("a", "b", None)


def test_the_estimator_learns_where_losses_are_small() -> None:
    late = [it.objective for it in searched(draw_by_estimator, 40)[-10:]]
    blind = [it.objective for it in searched(draw_at_random, 40)[-10:]]

    assert sum(late) < sum(blind)


def test_defaults_outside_of_the_space_and_failed_trials_are_no_obstacle() -> None:
    seen = [
        Observation({"strength": 0.0, "leaves": 8}, 1.0),
        Observation({"strength": 1.0, "leaves": 8, "kind": "a"}, math.inf),
        Observation({"strength": 0.1, "leaves": 4, "kind": "b"}, 0.5, is_complete=False),
    ]

    assert draw_by_estimator(SPACE, seen, 1).keys() == SPACE.keys()
