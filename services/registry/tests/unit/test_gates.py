from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from mltrainer_models import DailyLoss, ModelEvaluation
from mltrainer_registry.domain.gates import Approval, ConditionResult, Contender, evaluate
from mltrainer_registry.domain.manifests import Manifest
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.domain.policies import Condition, ConditionKind, GatePolicy
from mltrainer_registry.domain.versions import (
    Column,
    Lineage,
    ModelVersion,
    Result,
    Signature,
    Target,
    Verdict,
    VersionState,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
LINEAGE = Lineage("trainings/t", 1, "studies/s", "datasets/d", "d", ("v@1",), "c", "e", "k", NOW)
VOLATILITY = Target("LOG_REALIZED_VARIANCE", 5)
A, B, ANSWER = Column("a", "float64"), Column("b", "float64"), Column("prediction", "float64")


def version(
    number: int,
    r2: float | None = 0.5,
    verdict: Verdict = Verdict.EDGE,
    *,
    error: float | None = None,
    inputs: Sequence[Column] = (A, B),
) -> ModelVersion:
    metrics = () if r2 is None else (("r2", r2),)
    errors = () if error is None else (("r2", error),)
    return ModelVersion(
        name=VersionName("vol5", number),
        state=VersionState.ACTIVE,
        training=f"trainings/t{number}",
        manifest=Manifest("m", ()),
        lineage=LINEAGE,
        result=Result(verdict, metrics, b"", errors),
        target=VOLATILITY,
        create_time=NOW,
        revision=number,
        state_revision=number,
        signature=Signature(tuple(inputs), (ANSWER,)) if inputs else Signature(),
    )


def losses(
    values: Sequence[float], *, first_day: int = 0, symbol: str = "A", rows: int = 20
) -> ModelEvaluation:
    days = tuple(DailyLoss(first_day + day, value, rows) for day, value in enumerate(values))
    return ModelEvaluation((symbol,), 4, days)


def hold(
    condition: Condition,
    own: ModelVersion,
    present: ModelVersion | None = None,
    *,
    own_losses: ModelEvaluation | None = None,
    present_losses: ModelEvaluation | None = None,
    approval: Approval | None = None,
) -> ConditionResult:
    against = Contender(present, present_losses) if present else None
    (result,) = evaluate(GatePolicy((condition,)), Contender(own, own_losses), against, approval)
    return result


BEATS = Condition(ConditionKind.BEATS_CHAMPION, "r2")


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
    result = hold(BEATS, version(2, own), version(1, other))

    assert result.passed is passed
    assert "r2" in result.detail


def test_the_direction_of_the_metric_is_data() -> None:
    lower = replace(BEATS, higher_is_better=False)

    assert hold(lower, version(2, 0.4), version(1, 0.5)).passed


@pytest.mark.parametrize("kind", [ConditionKind.BEATS_CHAMPION, ConditionKind.NOT_WORSE_THAN_CHAMPION])
def test_the_first_candidate_needs_no_champion_to_beat(kind: ConditionKind) -> None:
    assert hold(Condition(kind, "r2"), version(1)).passed


@pytest.mark.parametrize("kind", [ConditionKind.BEATS_CHAMPION, ConditionKind.NOT_WORSE_THAN_CHAMPION])
def test_a_champion_of_another_target_cannot_be_compared(kind: ConditionKind) -> None:
    returns = replace(version(1, 0.1), target=Target("EXCESS_RETURN", 5))

    result = hold(Condition(kind, "r2"), version(2, 0.9), returns)

    assert not result.passed
    assert "another target" in result.detail


@pytest.mark.parametrize("verdict", [Verdict.NO_EDGE, Verdict.NOT_ENOUGH_DATA, Verdict.UNSPECIFIED])
def test_every_verdict_but_edge_fails_its_condition(verdict: Verdict) -> None:
    assert not hold(Condition(ConditionKind.VERDICT_IS_EDGE), version(1, verdict=verdict)).passed


def test_an_incomplete_lineage_names_what_is_unknown() -> None:
    candidate = replace(version(1), lineage=replace(LINEAGE, dataset="", feature_view_versions=()))

    result = hold(Condition(ConditionKind.LINEAGE_COMPLETE), candidate)

    assert not result.passed
    assert "dataset, feature_view_versions" in result.detail


def test_a_version_without_parent_has_a_complete_lineage() -> None:
    assert hold(Condition(ConditionKind.LINEAGE_COMPLETE), version(1)).passed


@pytest.mark.parametrize(
    ("condition", "r2", "error", "passed"),
    [
        pytest.param({"at_least": 0.5}, 0.5, None, True, id="the limit itself is enough"),
        pytest.param({"at_least": 0.5}, 0.499, None, False, id="below"),
        pytest.param({"at_most": 0.5}, 0.501, None, False, id="above"),
        pytest.param({"at_least": 0.4, "at_most": 0.6}, 0.5, None, True, id="between"),
        pytest.param({"at_least": 0.4}, float("nan"), None, False, id="not a number"),
        pytest.param({"at_least": 0.4}, None, None, False, id="no metric"),
        pytest.param({"at_least": 0.5, "confidence": 0.95}, 0.51, 0.01, False, id="too uncertain"),
        pytest.param({"at_least": 0.5, "confidence": 0.95}, 0.52, 0.01, True, id="certain enough"),
        pytest.param({"at_most": 0.5, "confidence": 0.95}, 0.49, 0.01, False, id="above in doubt"),
        pytest.param({"at_least": 0.4, "confidence": 0.95}, 0.5, None, False, id="no standard error"),
    ],
)
def test_a_metric_keeps_its_limits(
    condition: dict[str, float], r2: float | None, error: float | None, passed: bool
) -> None:
    limits = Condition(ConditionKind.METRIC_WITHIN, "r2", **condition)  # type: ignore[arg-type] # floats only

    assert hold(limits, version(1, r2, error=error)).passed is passed


@pytest.mark.parametrize(
    ("own", "present", "exact", "passed"),
    [
        pytest.param((A, B), (A, B), True, True, id="the same"),
        pytest.param((B, A), (A, B), False, True, id="another order"),
        pytest.param((B, A), (A, B), True, False, id="another order, exactly"),
        pytest.param((A,), (A, B), False, True, id="fewer columns"),
        pytest.param((A, B), (A,), False, False, id="a further column"),
        pytest.param((Column("a", "int64"),), (A,), False, False, id="another type"),
        pytest.param((A,), (), False, False, id="unknown inputs of the champion"),
        pytest.param((), (A,), False, False, id="unknown inputs"),
    ],
)
def test_whoever_feeds_the_champion_can_feed_a_compatible_candidate(
    own: Sequence[Column], present: Sequence[Column], exact: bool, passed: bool
) -> None:
    condition = Condition(ConditionKind.INPUTS_COMPATIBLE, exact=exact)

    assert hold(condition, version(2, inputs=own), version(1, inputs=present)).passed is passed


def test_a_signature_has_inputs_and_outputs() -> None:
    condition = Condition(ConditionKind.SIGNATURE_PRESENT)

    assert hold(condition, version(1)).passed
    assert not hold(condition, version(1, inputs=())).passed


def test_an_approval_is_quoted() -> None:
    condition = Condition(ConditionKind.APPROVED)

    result = hold(condition, version(1), approval=Approval("users/bob", "looks right"))

    assert (result.passed, result.detail) == (True, "users/bob has approved: looks right")
    assert not hold(condition, version(1)).passed


NOT_WORSE = Condition(ConditionKind.NOT_WORSE_THAN_CHAMPION, "r2", margin=0.02)
WAVES = [1.0 + 0.5 * ((day * 7919) % 13) / 13 for day in range(260)]


@pytest.mark.parametrize(
    ("factor", "passed"),
    [
        pytest.param(0.9, True, id="better"),
        pytest.param(1.0, True, id="the same"),
        pytest.param(1.01, True, id="worse within the margin"),
        pytest.param(1.05, False, id="worse than the margin"),
    ],
)
def test_losses_are_compared_day_by_day(factor: float, passed: bool) -> None:
    own, theirs = losses([factor * value for value in WAVES]), losses(WAVES)

    result = hold(NOT_WORSE, version(2, 0.1), version(1, 0.9), own_losses=own, present_losses=theirs)

    assert result.passed is passed
    assert result.estimate == pytest.approx(1 - factor)
    assert "over 260 days" in result.detail


def test_days_are_paired_so_that_shared_luck_is_no_noise() -> None:
    luck = [10.0 * ((day * 104729) % 97) / 97 for day in range(260)]
    theirs, own = losses([5 + value for value in luck]), losses([4.95 + value for value in luck])

    result = hold(
        replace(NOT_WORSE, margin=0.0), version(2), version(1), own_losses=own, present_losses=theirs
    )

    assert result.passed


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        pytest.param(losses(WAVES, symbol="B"), "other symbols", id="another universe"),
        pytest.param(losses(WAVES, first_day=230), "share 30 test days", id="too few shared days"),
        pytest.param(losses(WAVES, rows=19), "share 0 test days", id="another number of rows"),
    ],
)
def test_what_cannot_be_paired_is_compared_by_standard_errors(theirs: ModelEvaluation, why: str) -> None:
    own, present = version(2, 0.5, error=0.01), version(1, 0.4, error=0.01)

    result = hold(NOT_WORSE, own, present, own_losses=losses(WAVES), present_losses=theirs)

    assert result.passed
    assert why in result.detail
    assert result.estimate == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("own", "other", "passed"),
    [
        pytest.param((0.5, 0.001), (0.5, 0.001), True, id="equal and certain"),
        pytest.param((0.5, 0.1), (0.5, 0.1), False, id="equal and uncertain"),
        pytest.param((0.6, 0.01), (0.5, None), True, id="the error of the champion is unknown"),
        pytest.param((0.6, None), (0.5, 0.01), False, id="no error of its own: a bare number proves nothing"),
        pytest.param((None, None), (0.5, 0.01), False, id="no metric"),
    ],
)
def test_without_losses_the_standard_errors_decide(
    own: tuple[float | None, float | None], other: tuple[float | None, float | None], passed: bool
) -> None:
    candidate, present = version(2, own[0], error=own[1]), version(1, other[0], error=other[1])

    assert hold(NOT_WORSE, candidate, present).passed is passed
