import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_features import (
    ON_DEMAND_VIEWS,
    InvalidExpressionError,
    OnDemandView,
    evaluate_on_demand,
    on_demand_digest,
    on_demand_features,
    parse_expression,
    with_on_demand,
)
from mltrainer_features.on_demand import UnknownColumnError, require_sound

COLUMNS = {name: np.array([0.5, -2.0, math.nan]) for name in ("a", "b")}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a + b * 2", [1.5, -6.0, math.nan]),
        ("-a / b", [-1.0, -1.0, math.nan]),
        ("log(a)", [math.log(0.5), math.nan, math.nan]),
        ("max(a, 0) - min(a, 0)", [0.5, 2.0, math.nan]),
        ("sqrt(abs(a)) * sign(a)", [math.sqrt(0.5), -math.sqrt(2.0), math.nan]),
        ("a / (b - b)", [math.nan] * 3),
        ("exp(1e3) * a", [math.nan] * 3),
        ("max(a, 7)", [7.0, 7.0, math.nan]),
    ],
)
def test_a_formula_is_computed_row_by_row_and_undefined_where_it_has_no_value(
    text: str, values: list[float]
) -> None:
    computed = parse_expression(text).evaluate(COLUMNS)

    np.testing.assert_allclose(computed, values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 + 2",
        "a.real",
        "a[0]",
        "a ** 99999",
        "__import__('os')",
        "exp(a, b)",
        "exp(x=a)",
        "'a' + a",
        "a if a else b",
        "lambda: a",
        "True + a",
        "a; b",
        "-" * 60 + "a",
        "a + " * 200 + "a",
        "a\x00",
    ],
)
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(InvalidExpressionError):
        parse_expression(text)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=40))
def test_one_row_gives_the_same_bits_as_among_many(values: list[float]) -> None:
    formula = parse_expression("exp(a / 2) * log(abs(a) + 1) / sqrt(abs(a) + 0.1)")
    column = np.array(values)

    together = formula.evaluate({"a": column})
    alone = [formula.evaluate({"a": column[place : place + 1]})[0] for place in range(len(values))]

    assert together.tobytes() == np.array(alone).tobytes()


@pytest.mark.parametrize("view", ON_DEMAND_VIEWS.values(), ids=lambda view: view.name)
def test_every_view_reads_stored_features_and_its_own_request_fields_only(view: OnDemandView) -> None:
    require_sound(view)


def test_joined_rows_get_the_features_that_online_reads_compute() -> None:
    names = {"return_1": 0.01, "log_variance_5": -9.0, "log_variance_22": -9.5, "limit_distance": -0.02}
    joined = pl.DataFrame([names, names | {"log_variance_22": None}])

    rows = with_on_demand(joined, ["trade_context"])

    columns = {name: np.array([value]) for name, value in names.items()}
    for reference, feature in on_demand_features().items():
        assert rows[0, reference.partition(":")[2]] == evaluate_on_demand(feature, columns)[0]
        assert rows[1, reference.partition(":")[2]] is None


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UnknownColumnError, match="limit_distance"):
        with_on_demand(pl.DataFrame({"return_1": [0.1], "log_variance_5": [0.1], "log_variance_22": [0.1]}))


def test_a_changed_formula_changes_the_digest() -> None:
    view = ON_DEMAND_VIEWS["trade_context"]
    changed = replace(view, features=(replace(view.features[0], expression="return_1"), *view.features[1:]))

    assert on_demand_digest(view) != on_demand_digest(changed)
