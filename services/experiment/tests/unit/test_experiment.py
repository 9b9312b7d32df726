from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_experiment.domain.errors import (
    ExperimentNotDraftError,
    InvalidDefinitionError,
    InvalidFieldError,
)
from mltrainer_experiment.domain.experiment import Definition, Experiment, ExperimentState, Split, Variant
from mltrainer_experiment.domain.validation import check_definition, check_text, check_value, parse_experiment

NAN = float("nan")


def _arm(variant: str = "a", alias: str = "a", weight: float = 1.0) -> Variant:
    return Variant(variant, alias, weight)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"model": "vol5"}, "experiment.model", id="model"),
        pytest.param({"metric": ""}, "experiment.metric", id="metric"),
        pytest.param({"traffic": 1.5}, "experiment.traffic", id="traffic"),
        pytest.param({"traffic": NAN}, "experiment.traffic", id="traffic nan"),
        pytest.param({"alpha": 0.5}, "experiment.alpha", id="alpha"),
        pytest.param({"max_loss": -1.0}, "experiment.max_loss", id="max_loss"),
        pytest.param({"variants": (_arm(),)}, "experiment.variants", id="one arm"),
        pytest.param({"variants": (_arm(), _arm())}, "experiment.variants", id="same arm twice"),
        pytest.param({"variants": (_arm(), _arm("b", "B!"))}, "experiment.variants[1].alias", id="alias"),
        pytest.param({"variants": (_arm(), _arm("B"))}, "experiment.variants[1].variant", id="variant"),
        pytest.param(
            {"variants": (_arm(weight=0), _arm("b"))}, "experiment.variants[0].weight", id="no weight"
        ),
        pytest.param(
            {"variants": (_arm(weight=NAN), _arm("b"))}, "experiment.variants[0].weight", id="nan weight"
        ),
        pytest.param(
            {"variants": (_arm(weight=1e-9), _arm("b"))}, "experiment.variants[0].weight", id="tiny weight"
        ),
    ],
)
def test_what_is_wrong_with_a_definition_is_named_by_field(
    make: Any, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidDefinitionError) as refused:
        check_definition("blue", make.definition(**changes))

    assert field in [path for path, _ in refused.value.violations]


def test_all_violations_are_reported_at_once(make: Any) -> None:
    with pytest.raises(InvalidDefinitionError) as refused:
        check_definition("Blue!", make.definition(model="", metric="", alpha=2.0))

    assert len(refused.value.violations) == 4


def test_an_a_a_test_is_a_sound_definition(make: Any) -> None:
    check_definition("aa", make.definition(variants=(_arm("a", "champion"), _arm("b", "champion"))))


@pytest.mark.parametrize("name", ["blue", "experiments/", "experiments/Blue", "experiments/a/b"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(InvalidFieldError):
        parse_experiment(name)


@pytest.mark.parametrize("unit", ["", "x" * 257, "a\x00b", "a\nb"])
def test_a_unit_that_cannot_be_stored_is_refused(unit: str) -> None:
    with pytest.raises(InvalidFieldError):
        check_text(unit, "unit")


@pytest.mark.parametrize("value", [NAN, float("inf"), 1e200])
def test_a_value_that_would_spoil_every_mean_is_refused(value: float) -> None:
    with pytest.raises(InvalidFieldError):
        check_value(value, "value")


def test_a_life_goes_forward_only(make: Any, manual_clock: Any) -> None:
    now = manual_clock.now()
    active = make.experiment().start(now)
    decided, stopped = active.decide("challenger", now), active.stop(now)

    assert [one.state for one in (active, decided, stopped)] == [
        ExperimentState.ACTIVE,
        ExperimentState.DECIDED,
        ExperimentState.STOPPED,
    ]
    assert decided.stop(now) is decided
    assert stopped.decide("challenger", now) is stopped
    assert make.experiment().decide("challenger", now).state is ExperimentState.DRAFT
    for one in (active, decided, stopped):
        with pytest.raises(ExperimentNotDraftError):
            one.start(now)


@given(st.text(min_size=1, max_size=20))
def test_an_active_experiment_always_gives_a_unit_the_same_arm(unit: str) -> None:
    definition = Definition("models/m", (_arm("a", "x"), _arm("b", "y", 3.0)), "squared_error")
    split = Split.of(Experiment("e", definition, "salt", state=ExperimentState.ACTIVE))

    arms = {split.arm(unit), split.arm(unit)}

    assert len(arms) == 1
    assert arms.pop().exposed


def test_units_are_split_by_weight_and_traffic(make: Any) -> None:
    variants = (_arm("a", weight=1.0), _arm("b", weight=3.0))
    split = Split.of(make.active(variants=variants, traffic=0.5))

    arms = [split.arm(f"u{index}") for index in range(8_000)]

    exposed = Counter(arm.variant for arm in arms if arm.exposed)
    assert exposed.total() == pytest.approx(4_000, rel=0.06)
    assert exposed["b"] / exposed.total() == pytest.approx(0.75, abs=0.03)
    assert {arm.variant for arm in arms if not arm.exposed} == {"a"}


@pytest.mark.parametrize("state", [ExperimentState.DRAFT, ExperimentState.DECIDED, ExperimentState.STOPPED])
def test_an_experiment_that_is_not_active_gives_everybody_the_control(
    make: Any, state: ExperimentState
) -> None:
    experiment = Experiment("e", make.definition(), "salt", state=state, decision="challenger")
    split = Split.of(experiment)

    arms = {split.arm(f"u{index}") for index in range(50)}

    assert {(arm.variant, arm.exposed) for arm in arms} == {("champion", False)}
