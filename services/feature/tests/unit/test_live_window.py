"""A window in memory decides the same rows, bit for bit, as all stored bars do."""

import random
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_feature.domain.bars import Bars
from mltrainer_feature.domain.live_window import LiveRows, LiveWindow
from mltrainer_feature.domain.rows import FEATURE_NAMES, EventRange, Rows, compute_rows, newest_rows
from polars.testing import assert_frame_equal

from .quotes import Quote, day, market, to_bars

DELAY = timedelta(hours=12)
HISTORY = 280


def closes(quotes: list[Quote]) -> Bars:
    return to_bars(quotes).select("symbol", "event_time", "knowledge_time", "close")


def loaded(quotes: list[Quote], since: int = HISTORY) -> LiveWindow:
    window = LiveWindow.load(closes(quotes), day(since), DELAY, 7)
    assert window is not None
    return window


def extended(window: LiveWindow, batch: list[Quote]) -> tuple[LiveWindow, LiveRows]:
    found = window.extended(to_bars(batch))
    assert found is not None
    return found


def assert_same_bits(found: Rows, expected: Rows) -> None:
    keys = ["event_time", "created_time", "symbol"]
    assert_frame_equal(found.select(keys), expected.select(keys))
    values = [rows.select(FEATURE_NAMES).fill_null(float("nan")).to_numpy() for rows in (found, expected)]
    assert np.ascontiguousarray(values[0]).tobytes() == np.ascontiguousarray(values[1]).tobytes()


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    gaps=st.sampled_from([0.0, 0.1, 0.5]),
    lateness=st.sampled_from([0, 1, 3]),
    batch_size=st.sampled_from([1, 3, 10]),
)
def test_rows_of_a_window_are_those_of_all_bars(
    seed: int, gaps: float, lateness: int, batch_size: int
) -> None:
    draw = random.Random(seed)
    quotes = [
        Quote(quote.symbol, quote.day, quote.close, timedelta(hours=draw.randrange(12)))
        for quote in market(4, HISTORY + 6, seed)
        if quote.symbol == "S0" or draw.random() >= gaps
    ]
    stored = [quote for quote in quotes if quote.day < HISTORY]
    arriving = sorted(quotes[len(stored) :], key=lambda quote: quote.day + draw.randint(0, lateness))
    window = loaded(stored)

    for start in range(0, len(arriving), batch_size):
        batch = arriving[start : start + batch_size]
        stored += batch
        window, live = extended(window, batch)

        expected = compute_rows(closes(stored), live.wanted, DELAY)
        assert live.wanted.since == day(min(quote.day for quote in batch))
        assert_same_bits(live.rows.to_rows(), expected)
        assert_same_bits(live.newest.to_rows().sort("symbol"), newest_rows(expected))


def test_a_long_stream_keeps_the_window_bounded_and_its_rows_right() -> None:
    quotes = market(2, 1_300)
    window = loaded(quotes[: 2 * HISTORY])

    for index in range(HISTORY, 1_300, 20):
        window, live = extended(window, quotes[2 * index : 2 * (index + 20)])

    expected = compute_rows(closes(quotes), EventRange(day(1_280), day(1_299)), DELAY)
    assert_same_bits(live.rows.to_rows(), expected)
    assert window.grid.times.size < 1_100


def test_a_restatement_known_before_the_next_decision_enters_it() -> None:
    quotes = [*market(2, HISTORY), Quote("S0", HISTORY - 5, 55.0, timedelta(days=4))]
    batch = [Quote("S0", HISTORY, 101.0), Quote("S1", HISTORY, 99.0)]

    _, live = extended(loaded(quotes), batch)

    assert_same_bits(live.rows.to_rows(), compute_rows(closes([*quotes, *batch]), live.wanted, DELAY))


def test_rows_that_a_late_bar_was_not_known_to_are_left_to_the_stored_bars() -> None:
    quotes = [*market(2, HISTORY), Quote("S0", HISTORY - 5, 55.0, timedelta(days=5, hours=13))]

    assert loaded(quotes).extended(to_bars([Quote("S0", HISTORY, 101.0)])) is None


def test_a_symbol_that_left_the_market_stays_in_its_old_days() -> None:
    quotes = [quote for quote in market(3, HISTORY) if quote.symbol != "S2" or quote.day < HISTORY - 30]
    batch = [Quote("S0", HISTORY, 101.0), Quote("S1", HISTORY, 99.0)]

    _, live = extended(loaded(quotes), batch)

    assert live.rows.symbols == ("S0", "S1")
    assert_same_bits(live.rows.to_rows(), compute_rows(closes([*quotes, *batch]), live.wanted, DELAY))


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param([Quote("NEW", HISTORY, 1.0)], id="an unknown symbol"),
        pytest.param([Quote("S0", HISTORY - 1, 1.0, timedelta(hours=1))], id="a restatement"),
        pytest.param([Quote("S0", HISTORY, 1.0, timedelta(hours=13))], id="a late bar"),
        pytest.param([Quote("S0", HISTORY, 1.0), Quote("S0", HISTORY, 2.0)], id="two bars of one time"),
        pytest.param([Quote("S0", 3, 1.0)], id="a bar before the window"),
    ],
)
def test_what_a_window_cannot_decide_is_left_to_the_stored_bars(batch: list[Quote]) -> None:
    assert loaded(market(2, HISTORY)).extended(to_bars(batch)) is None


def test_without_bars_there_is_no_window() -> None:
    assert LiveWindow.load(closes([]), day(0), DELAY, 1) is None
