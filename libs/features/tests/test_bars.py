from datetime import UTC, datetime
from math import inf, nan

import polars as pl
import pytest
from mltrainer_features import BarProblemReason as Reason
from mltrainer_features import BarSchemaError, find_bar_problems, split_bars

TIME = datetime(2022, 1, 3, 21, tzinfo=UTC)


def one_bar(**changes: object) -> pl.DataFrame:
    fields: dict[str, object] = {"symbol": "AAPL", "event_time": TIME, "close": 10.0} | changes
    schema = dict.fromkeys(fields, pl.Float64) | {
        "symbol": pl.String,
        "event_time": pl.Datetime("us", "UTC"),
    }
    return pl.DataFrame([fields], schema=schema)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        pytest.param({"close": nan}, Reason.PRICE_NOT_FINITE, "close", id="close-nan"),
        pytest.param({"close": inf}, Reason.PRICE_NOT_FINITE, "close", id="close-infinite"),
        pytest.param({"close": None}, Reason.PRICE_NOT_FINITE, "close", id="close-null"),
        pytest.param({"close": 0.0}, Reason.PRICE_NOT_POSITIVE, "close", id="close-zero"),
        pytest.param({"close": -1.0}, Reason.PRICE_NOT_POSITIVE, "close", id="close-negative"),
        pytest.param({"symbol": ""}, Reason.SYMBOL_EMPTY, "symbol", id="symbol-empty"),
        pytest.param({"symbol": None}, Reason.SYMBOL_EMPTY, "symbol", id="symbol-null"),
        pytest.param({"event_time": None}, Reason.EVENT_TIME_MISSING, "event_time", id="no-time"),
        pytest.param({"open": -1.0}, Reason.PRICE_NOT_POSITIVE, "open", id="open-negative"),
        pytest.param({"high": 9.0, "low": 11.0}, Reason.HIGH_BELOW_LOW, "high", id="high-below-low"),
        pytest.param({"high": 9.0, "low": 8.0}, Reason.CLOSE_OUTSIDE_RANGE, "close", id="close-outside"),
        pytest.param({"volume": -1.0}, Reason.VOLUME_NEGATIVE, "volume", id="volume-negative"),
    ],
)
def test_an_unusable_bar_has_its_reason(changes: dict[str, object], reason: Reason, field: str) -> None:
    (problem,) = find_bar_problems(one_bar(**changes))

    assert (problem.reason, problem.field, problem.row) == (reason, field, 0)


def test_missing_optional_fields_are_no_problem() -> None:
    assert find_bar_problems(one_bar(open=None, high=None, low=None, volume=None)) == []


def test_of_two_bars_with_one_key_the_second_is_a_duplicate() -> None:
    bars = pl.concat([one_bar(), one_bar(close=11.0), one_bar(symbol="MSFT")])

    usable, problems = split_bars(bars)

    assert usable["close"].to_list() == [10.0, 10.0]
    assert [(problem.row, problem.reason) for problem in problems] == [(1, Reason.DUPLICATE)]


def test_times_without_a_zone_are_refused() -> None:
    bars = one_bar().with_columns(pl.col("event_time").dt.replace_time_zone(None))

    with pytest.raises(BarSchemaError, match="event_time"):
        find_bar_problems(bars)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(BarSchemaError, match="close"):
        find_bar_problems(one_bar().drop("close"))
