from datetime import datetime, timedelta

import polars as pl
import pytest
from mltrainer_feature.domain.bars import (
    BAR_SCHEMA,
    first_bases,
    split_known_bars,
    split_mixed_bars,
    split_new_bars,
)

from .quotes import Quote, day, to_bars

NOW = day(100)


def bar(**changes: object) -> pl.DataFrame:
    record = {
        "symbol": "A",
        "event_time": day(1),
        "knowledge_time": day(1),
        "close": 10.0,
        "open": None,
        "high": None,
        "low": None,
        "volume": None,
        "adjusted": True,
    }
    return pl.DataFrame([record | changes], schema=BAR_SCHEMA, orient="row")


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        pytest.param({"symbol": ""}, "SYMBOL_EMPTY", "symbol", id="no symbol"),
        pytest.param({"symbol": "A B"}, "SYMBOL_MALFORMED", "symbol", id="a space in the symbol"),
        pytest.param({"symbol": "A" * 33}, "SYMBOL_MALFORMED", "symbol", id="a long symbol"),
        pytest.param({"event_time": None}, "EVENT_TIME_MISSING", "event_time", id="no event time"),
        pytest.param({"knowledge_time": None}, "KNOWLEDGE_TIME_MISSING", "knowledge_time", id="no knowledge"),
        pytest.param({"knowledge_time": day(0)}, "KNOWN_BEFORE_CLOSE", "knowledge_time", id="early"),
        pytest.param({"knowledge_time": day(101)}, "FROM_THE_FUTURE", "knowledge_time", id="known tomorrow"),
        pytest.param({"close": 0.0}, "PRICE_NOT_POSITIVE", "close", id="no price"),
        pytest.param({"close": float("nan")}, "PRICE_NOT_FINITE", "close", id="an undefined price"),
        pytest.param({"high": 9.0, "low": 8.0}, "CLOSE_OUTSIDE_RANGE", "close", id="close above high"),
        pytest.param({"volume": -1.0}, "VOLUME_NEGATIVE", "volume", id="negative volume"),
    ],
)
def test_an_unusable_bar_is_refused_with_its_reason(
    changes: dict[str, object], reason: str, field: str
) -> None:
    usable, refusals = split_new_bars(pl.concat([bar(symbol="B"), bar(**changes)]), NOW)

    assert usable["symbol"].to_list() == ["B"]
    assert [(refusal.reason, refusal.field) for refusal in refusals] == [(reason, field)]
    assert reason in refusals[0].sentence()


def test_a_restated_bar_beside_the_one_it_corrects_is_no_duplicate() -> None:
    bars = to_bars([Quote("A", 1, 10.0), Quote("A", 1, 11.0, timedelta(days=1)), Quote("A", 1, 10.0)])

    usable, refusals = split_new_bars(bars, NOW)

    assert usable["close"].to_list() == [10.0, 11.0]
    assert refusals == []


def test_a_known_bar_is_left_out_and_a_contradiction_refused() -> None:
    known = to_bars([Quote("A", 1, 10.0), Quote("A", 2, 10.0)])
    received = to_bars([Quote("A", 1, 10.0), Quote("A", 2, 99.0), Quote("A", 3, 10.0), Quote("A", 3, 12.0)])

    fresh, refusals = split_known_bars(received, known)

    assert fresh.select("event_time", "close").rows() == [(day(3), 10.0)]
    assert {(refusal.event_time, refusal.close, refusal.reason) for refusal in refusals} == {
        (day(2), 99.0, "CONFLICTS_WITH_KNOWN_BAR"),
        (day(3), 12.0, "CONFLICTS_WITH_KNOWN_BAR"),
    }


def test_no_bars_are_no_problem() -> None:
    usable, refusals = split_new_bars(to_bars([]), datetime.max.replace(tzinfo=NOW.tzinfo))

    assert usable.is_empty()
    assert refusals == []


def test_bars_that_contradict_their_symbol_about_adjustment_are_refused() -> None:
    bars = pl.concat([bar(), bar(symbol="B"), bar(symbol="B", event_time=day(2), adjusted=False)])

    same, refusals = split_mixed_bars(bars, {"A": True, "B": False})

    assert same.select("symbol", "adjusted").rows() == [("A", True), ("B", False)]
    assert [(one.symbol, one.reason, one.field) for one in refusals] == [
        ("B", "ADJUSTMENT_MIXED", "adjusted")
    ]


def test_the_first_bar_says_whether_prices_of_a_symbol_are_adjusted() -> None:
    later, first = bar(event_time=day(3)), bar(event_time=day(2), adjusted=False)
    both = [bar(symbol="B", adjusted=False), bar(symbol="B")]

    assert first_bases(pl.concat([later, first, *both])) == {"A": False, "B": True}
