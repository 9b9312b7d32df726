"""Policies and details that may not be set."""

from collections.abc import Sequence

import pytest
from mltrainer_registry.domain.details import Details, DetailsChange, change_details
from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.domain.policies import Condition, ConditionKind, check_conditions

EDGE = Condition(ConditionKind.VERDICT_IS_EDGE)


def change(paths: Sequence[str], description: str = "", **tags: str) -> DetailsChange:
    return DetailsChange(Details(description, tags), tuple(paths))


@pytest.mark.parametrize(
    "conditions",
    [
        pytest.param([EDGE, EDGE], id="twice"),
        pytest.param([Condition(ConditionKind.BEATS_CHAMPION)], id="no metric"),
        pytest.param([Condition(ConditionKind.BEATS_CHAMPION, "R2; drop")], id="no name of a metric"),
        pytest.param([Condition(ConditionKind.VERDICT_IS_EDGE, "r2")], id="a metric too many"),
        pytest.param([Condition(ConditionKind.METRIC_WITHIN, "r2")], id="no limit"),
        pytest.param([Condition(ConditionKind.METRIC_WITHIN, "r2", at_least=2, at_most=1)], id="crossed"),
        pytest.param([Condition(ConditionKind.METRIC_WITHIN, "r2", at_least=float("nan"))], id="NaN limit"),
        pytest.param([Condition(ConditionKind.APPROVED, at_most=1.0)], id="a limit too many"),
        pytest.param(
            [Condition(ConditionKind.NOT_WORSE_THAN_CHAMPION, "r2", margin=float("nan"))], id="NaN margin"
        ),
        pytest.param([Condition(ConditionKind.NOT_WORSE_THAN_CHAMPION, "r2", margin=-0.1)], id="margin"),
        pytest.param([Condition(ConditionKind.NOT_WORSE_THAN_CHAMPION, "r2", confidence=1)], id="certain"),
        pytest.param([Condition(ConditionKind.NOT_WORSE_THAN_CHAMPION, "r2", min_days=-1)], id="days"),
        pytest.param(
            [Condition(ConditionKind.METRIC_WITHIN, f"m{n}", at_least=0) for n in range(21)], id="21"
        ),
    ],
)
def test_conditions_that_make_no_sense_are_refused(conditions: list[Condition]) -> None:
    with pytest.raises(InvalidFieldError):
        check_conditions(conditions)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(change([]), id="no mask"),
        pytest.param(change(["metrics"]), id="another field"),
        pytest.param(change(["tags."]), id="no key"),
        pytest.param(change(["tags"], **{"A b": "x"}), id="key"),
        pytest.param(change(["tags"], **{"../x": "x"}), id="key with dots"),
        pytest.param(change(["tags"], a="x" * 501), id="long value"),
        pytest.param(change(["tags"], a="x\ny"), id="control character"),
        pytest.param(change(["tags"], **{f"k{number}": "" for number in range(65)}), id="65 tags"),
        pytest.param(change(["description"], "x" * 10_001), id="long description"),
        pytest.param(change(["description"], "\x00"), id="NUL"),
    ],
)
def test_details_that_may_not_be_used_are_refused(wanted: DetailsChange) -> None:
    with pytest.raises(InvalidFieldError):
        change_details(Details(), wanted)
