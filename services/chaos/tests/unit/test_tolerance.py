from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_chaos.domain.errors import MalformedError
from mltrainer_chaos.domain.tolerance import parse_tolerance


@pytest.mark.parametrize(
    ("tolerance", "value", "accepted"),
    [
        pytest.param(True, True, True, id="bool"),
        pytest.param(True, 1, False, id="one is not true"),
        pytest.param(1, True, False, id="true is not one"),
        pytest.param(200, {"status": 200, "body": ""}, True, id="http status"),
        pytest.param(200, {"status": 503}, False, id="other http status"),
        pytest.param("OK", "OK", True, id="text"),
        pytest.param([4, 9], 9, True, id="two numbers are bounds, both included"),
        pytest.param([4, 9], 9.01, False, id="above the bounds"),
        pytest.param([200, 299], {"status": 204}, True, id="bounds of a status"),
        pytest.param([200, 301, 302], {"status": 301}, True, id="list"),
        pytest.param([200, 301, 302], {"status": 300}, False, id="not in the list"),
        pytest.param(["a", "b"], "b", True, id="two texts are a list"),
        pytest.param({"type": "range", "range": [0, 0.5]}, "0.25", True, id="range of a number as text"),
        pytest.param({"type": "range", "range": [0, 0.5]}, "much", False, id="range of no number"),
        pytest.param({"type": "range", "range": [0, 1]}, True, False, id="range of a bool"),
        pytest.param({"type": "range", "range": [0, 9], "target": "n"}, {"n": 3}, True, id="range of a part"),
        pytest.param({"type": "regex", "pattern": "^v[0-9]"}, "v12", True, id="regex"),
        pytest.param(
            {"type": "regex", "pattern": "up 1", "target": "body"},
            {"body": "up 1"},
            True,
            id="regex of a part",
        ),
        pytest.param({"type": "regex", "pattern": "a"}, None, False, id="regex of nothing"),
    ],
)
def test_values_are_compared_as_the_format_says(tolerance: Any, value: Any, accepted: bool) -> None:
    assert parse_tolerance(tolerance).accepts(value) is accepted


@pytest.mark.parametrize(
    ("tolerance", "words"),
    [
        pytest.param(None, "scalar", id="nothing"),
        pytest.param([], "scalar", id="empty list"),
        pytest.param({"type": "jsonpath", "path": "$.a"}, "'jsonpath'", id="jsonpath"),
        pytest.param({"type": "probe"}, "'probe'", id="probe"),
        pytest.param({"type": "range", "range": [9, 4]}, "in order", id="range upside down"),
        pytest.param({"type": "regex", "pattern": "("}, "no regular expression", id="broken pattern"),
        pytest.param({"type": "regex", "pattern": "(a+)+$"}, "repeats a group", id="exponential pattern"),
        pytest.param({"type": "regex", "pattern": "a?a?a?a?aaaa"}, "more than 3", id="many repetitions"),
        pytest.param({"type": "regex", "pattern": r"(a)\1"}, "refers back", id="back reference"),
    ],
)
def test_what_cannot_be_judged_is_refused(tolerance: Any, words: str) -> None:
    with pytest.raises(MalformedError, match=words):
        parse_tolerance(tolerance)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_range_accepts_exactly_what_lies_between(first: float, second: float, value: float) -> None:
    low, high = sorted((first, second))

    accepted = parse_tolerance([low, high]).accepts(value)

    assert accepted is (Decimal(str(low)) <= Decimal(str(value)) <= Decimal(str(high)))
