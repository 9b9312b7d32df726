from dataclasses import replace
from datetime import UTC, datetime

import pytest
from mltrainer_registry.domain.gates import Condition, ConditionKind, GatePolicy, evaluate
from mltrainer_registry.domain.manifests import Manifest
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.domain.versions import (
    Lineage,
    ModelVersion,
    Result,
    Target,
    Verdict,
    VersionState,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
LINEAGE = Lineage("trainings/t", 1, "studies/s", "datasets/d", "d", ("v@1",), "c", "e", "k", NOW)
VOLATILITY = Target("LOG_REALIZED_VARIANCE", 5)


def version(number: int, r2: float | None = 0.5, verdict: Verdict = Verdict.EDGE) -> ModelVersion:
    metrics = () if r2 is None else (("r2", r2),)
    return ModelVersion(
        name=VersionName("vol5", number),
        state=VersionState.ACTIVE,
        training=f"trainings/t{number}",
        manifest=Manifest("m", ()),
        lineage=LINEAGE,
        result=Result(verdict, metrics, b""),
        target=VOLATILITY,
        create_time=NOW,
        revision=number,
        state_revision=number,
    )


def beats(*, higher_is_better: bool = True) -> GatePolicy:
    return GatePolicy((Condition(ConditionKind.BEATS_CHAMPION, "r2", higher_is_better),))


@pytest.mark.parametrize(
    ("own", "other", "passed"),
    [
        pytest.param(0.51, 0.5, True, id="better"),
        pytest.param(0.5, 0.5, False, id="a tie keeps the champion"),
        pytest.param(0.49, 0.5, False, id="worse"),
        pytest.param(None, 0.5, False, id="no metric"),
        pytest.param(0.1, None, True, id="champion without metric"),
        pytest.param(float("nan"), 0.5, False, id="not a number"),
    ],
)
def test_only_a_better_candidate_beats_the_champion(
    own: float | None, other: float | None, passed: bool
) -> None:
    (result,) = evaluate(beats(), version(2, own), version(1, other))

    assert result.passed is passed
    assert "r2" in result.detail


def test_the_direction_of_the_metric_is_data() -> None:
    (result,) = evaluate(beats(higher_is_better=False), version(2, 0.4), version(1, 0.5))

    assert result.passed


def test_the_first_candidate_needs_no_champion_to_beat() -> None:
    (result,) = evaluate(beats(), version(1), None)

    assert result.passed


def test_a_champion_of_another_target_cannot_be_compared() -> None:
    returns = replace(version(1, 0.1), target=Target("EXCESS_RETURN", 5))

    (result,) = evaluate(beats(), version(2, 0.9), returns)

    assert not result.passed
    assert "another target" in result.detail


@pytest.mark.parametrize("verdict", [Verdict.NO_EDGE, Verdict.NOT_ENOUGH_DATA, Verdict.UNSPECIFIED])
def test_every_verdict_but_edge_fails_its_condition(verdict: Verdict) -> None:
    policy = GatePolicy((Condition(ConditionKind.VERDICT_IS_EDGE),))

    (result,) = evaluate(policy, version(1, verdict=verdict), None)

    assert not result.passed


def test_an_incomplete_lineage_names_what_is_unknown() -> None:
    policy = GatePolicy((Condition(ConditionKind.LINEAGE_COMPLETE),))
    candidate = replace(version(1), lineage=replace(LINEAGE, dataset="", feature_view_versions=()))

    (result,) = evaluate(policy, candidate, None)

    assert not result.passed
    assert "dataset, feature_view_versions" in result.detail
