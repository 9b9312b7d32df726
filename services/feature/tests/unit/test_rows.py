import random
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_feature.domain.bars import Bars, newest_knowledge
from mltrainer_feature.domain.rows import FEATURE_NAMES, EventRange, Rows, compute_rows, newest_rows
from mltrainer_features import compute_features

from .quotes import Quote, day, market, to_bars

DELAY = timedelta(hours=12)
LATE = st.sampled_from([timedelta(hours=1), timedelta(hours=11), timedelta(days=2), timedelta(days=9)])


def rows_of(quotes: list[Quote], first: int = 0, last: int = 40) -> Rows:
    return compute_rows(closes(quotes), EventRange(day(first), day(last)), DELAY)


def closes(quotes: list[Quote]) -> Bars:
    return to_bars(quotes).select("symbol", "event_time", "knowledge_time", "close")


def known_rows(rows: Rows, as_of: datetime) -> Rows:
    known = rows.filter(pl.col("created_time") <= as_of).sort("created_time")
    return known.unique(["symbol", "event_time"], keep="last")


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    key = ["symbol", "event_time"]
    found, expected = found.sort(key), expected.sort(key)
    assert found.select(key).equals(expected.select(key))
    np.testing.assert_allclose(
        found.select(FEATURE_NAMES).to_numpy(), expected.select(FEATURE_NAMES).to_numpy(), rtol=0, atol=1e-12
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1_000), delays=st.lists(LATE, min_size=0, max_size=4))
def test_a_decided_row_holds_what_was_known_at_its_decision(seed: int, delays: list[timedelta]) -> None:
    draw = random.Random(seed)
    quotes = market(3, 41, seed)
    for delay in delays:
        original = draw.choice(quotes)
        quotes.append(Quote(original.symbol, original.day, original.close * 1.1, delay))
    bars = closes(quotes)

    rows = rows_of(quotes)

    for index in (5, 20, draw.randrange(41), 40):
        decision_time = day(index) + DELAY
        known = newest_knowledge(bars.filter(pl.col("knowledge_time") <= decision_time))
        expected = compute_features(known).filter(pl.col("event_time") == day(index))
        found = known_rows(rows.filter(pl.col("event_time") == day(index)), decision_time)
        assert_same(found, expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1_000), delays=st.lists(LATE, min_size=1, max_size=4))
def test_the_newest_rows_hold_everything_known(seed: int, delays: list[timedelta]) -> None:
    draw = random.Random(seed)
    quotes = market(3, 41, seed)
    for delay in delays:
        original = draw.choice(quotes)
        quotes.append(Quote(original.symbol, original.day, original.close * 1.1, delay))

    rows = rows_of(quotes)

    expected = compute_features(newest_knowledge(closes(quotes)))
    assert_same(known_rows(rows, day(10_000)), expected)


def test_no_row_is_created_before_a_bar_that_it_holds() -> None:
    quotes = [
        *market(2, 30),
        Quote("S0", 10, 55.0, timedelta(days=3)),
        Quote("S2", 20, 7.0, timedelta(hours=2)),
    ]

    rows = rows_of(quotes, 0, 29)

    late = rows.filter((pl.col("symbol") == "S0") & (pl.col("event_time") == day(10)))
    assert late["created_time"].to_list() == [day(10), day(13)]
    same_day = rows.filter(pl.col("event_time") == day(20))
    assert same_day["created_time"].unique().to_list() == [day(20) + timedelta(hours=2)]


def test_a_restatement_adds_only_the_rows_that_it_changes() -> None:
    quotes = market(2, 300)
    restated = Quote("S0", 10, 55.0, timedelta(days=280))

    rows = rows_of([*quotes, restated], 0, 299)

    changed = rows.filter(pl.col("event_time") < pl.col("created_time"))
    assert changed["created_time"].unique().to_list() == [restated.knowledge_time]
    assert rows.height == rows_of(quotes, 0, 299).height + changed.height
    assert changed["event_time"].min() == day(10)
    assert changed["event_time"].max() == day(10 + 252)


def test_a_bar_known_too_late_has_no_decided_row() -> None:
    quotes = [*market(1, 30), Quote("S1", 5, 10.0, timedelta(days=1))]

    rows = rows_of(quotes, 0, 29).filter(pl.col("symbol") == "S1")

    assert rows["created_time"].to_list() == [day(6)]


def test_a_part_of_the_range_equals_the_same_part_of_the_whole() -> None:
    quotes = [*market(3, 60), Quote("S1", 30, 42.0, timedelta(days=4))]

    whole = rows_of(quotes, 0, 59).filter(pl.col("event_time") >= day(35))
    part = rows_of(quotes, 35, 59)

    assert whole.select("event_time", "created_time", "symbol").equals(
        part.select("event_time", "created_time", "symbol")
    )


def test_the_newest_row_of_each_symbol_is_found() -> None:
    quotes = [*market(2, 10), Quote("S0", 10, 5.0)]

    newest = newest_rows(rows_of(quotes, 0, 10))

    assert newest.select("symbol", "event_time").rows() == [("S0", day(10)), ("S1", day(9))]


@pytest.mark.parametrize("quotes", [[], market(1, 1)], ids=["no bars", "one bar"])
def test_little_gives_few_rows(quotes: list[Quote]) -> None:
    assert rows_of(quotes).height == len(quotes)
