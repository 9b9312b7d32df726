from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_features import TargetKind, compute_labels

START = datetime(2020, 1, 1, 21, tzinfo=UTC)


def make_bars(closes: dict[str, list[float]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (symbol, START + timedelta(days=day), price)
            for symbol, row in closes.items()
            for day, price in enumerate(row)
        ],
        schema={"symbol": pl.String, "event_time": pl.Datetime("us", "UTC"), "close": pl.Float64},
        orient="row",
    )


def test_realised_variance_sums_the_squares_of_the_next_returns() -> None:
    prices = [100.0, 110.0, 99.0, 105.0]
    squares = np.diff(np.log(prices)) ** 2

    labels = compute_labels(make_bars({"A": prices}), TargetKind.LOG_REALIZED_VARIANCE, 2)

    assert labels["label"].to_list() == pytest.approx([np.log(squares[:2].sum()), np.log(squares[1:].sum())])
    assert labels["label_end_time"].to_list() == [START + timedelta(days=2), START + timedelta(days=3)]


def test_an_unchanged_price_has_the_floor_as_variance() -> None:
    labels = compute_labels(make_bars({"A": [5.0] * 4}), TargetKind.LOG_REALIZED_VARIANCE, 3)

    assert labels["label"].to_list() == pytest.approx([np.log(1e-8)])


def test_excess_returns_sum_to_zero_on_every_date() -> None:
    bars = make_bars({"A": [1.0, 2.0, 3.0], "B": [3.0, 2.0, 1.0], "C": [1.0, 1.0, 5.0]})

    labels = compute_labels(bars, TargetKind.EXCESS_RETURN, 1)

    sums = labels.group_by("event_time").agg(pl.col("label").sum())["label"].to_list()
    assert sums == pytest.approx([0.0, 0.0], abs=1e-12)


def test_an_excess_return_is_known_when_the_last_symbol_of_its_market_is() -> None:
    bars = make_bars({"A": [1.0, 2.0, 3.0, 4.0], "B": [3.0, 2.0, 1.0, 1.0]})
    gap = bars.filter(~((pl.col("symbol") == "B") & (pl.col("event_time") == START + timedelta(days=1))))

    labels = compute_labels(gap, TargetKind.EXCESS_RETURN, 1).filter(pl.col("event_time") == START)

    assert labels["label_end_time"].to_list() == [START + timedelta(days=2)] * 2


def test_direction_is_one_where_the_price_rises() -> None:
    labels = compute_labels(make_bars({"A": [1.0, 2.0, 2.0, 1.0]}), TargetKind.DIRECTION, 1)

    assert labels["label"].to_list() == [1.0, 0.0, 0.0]


@given(bar_count=st.integers(0, 12), horizon=st.integers(1, 12), kind=st.sampled_from(TargetKind))
def test_incomplete_labels_are_left_out(bar_count: int, horizon: int, kind: TargetKind) -> None:
    labels = compute_labels(make_bars({"A": [10.0 + day for day in range(bar_count)]}), kind, horizon)

    before = 66 if kind is TargetKind.TAIL_EVENT else 0
    assert labels.height == max(bar_count - horizon - before, 0)
    assert labels["label"].null_count() == 0
    assert (labels["label_end_time"] > labels["event_time"]).all()


def test_a_horizon_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one bar"):
        compute_labels(make_bars({"A": [1.0]}), TargetKind.DIRECTION, 0)


def test_a_forward_rank_is_the_place_among_the_returns_of_the_date() -> None:
    bars = make_bars({"A": [1.0, 2.0, 2.0], "B": [1.0, 3.0, 3.0], "C": [1.0, 2.0, 9.0], "D": [1.0, 1.0, 1.0]})

    labels = compute_labels(bars, TargetKind.FORWARD_RANK, 1)

    by_date = labels.partition_by("event_time")
    assert by_date[0].sort("symbol")["label"].to_list() == pytest.approx([0.5, 0.875, 0.5, 0.125])
    assert by_date[1]["label"].sum() == pytest.approx(2.0)


def test_the_return_of_a_portfolio_is_simple() -> None:
    labels = compute_labels(make_bars({"A": [4.0, 5.0, 6.0]}), TargetKind.PORTFOLIO_RETURN, 2)

    assert labels["label"].to_list() == pytest.approx([0.5])


def test_regimes_are_judged_by_the_variance_that_follows() -> None:
    bars = make_bars({"A": [100.0, 110.0, 99.0, 105.0]})

    first, second = (
        compute_labels(bars, kind, 2)
        for kind in (TargetKind.VARIANCE_REGIME, TargetKind.LOG_REALIZED_VARIANCE)
    )

    assert first.equals(second)


def test_a_tail_event_exceeds_twice_what_the_past_lets_expect() -> None:
    quiet = [1.01 ** (day % 2) for day in range(70)]
    jumps = [*quiet, quiet[-1] * 1.021, quiet[-1] * 1.021 * 1.019]

    labels = compute_labels(make_bars({"A": jumps}), TargetKind.TAIL_EVENT, 1)

    assert labels["event_time"].min() == START + timedelta(days=66)
    assert labels["label"].to_list() == [0.0, 0.0, 0.0, 1.0, 0.0]
