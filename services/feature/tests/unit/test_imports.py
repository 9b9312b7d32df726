from datetime import timedelta

import polars as pl
import pytest
from mltrainer_feature.domain.errors import UnreadableBarsError
from mltrainer_feature.domain.imports import chunk_end, import_name, is_sha256, read_history

from .quotes import START, day, market, to_bars

OFFSET = timedelta(hours=21)


@pytest.mark.parametrize(
    "text",
    [
        "2021-01-04T21:00:00Z",
        "2021-01-04T21:00:00.000000Z",
        "2021-01-04T22:00:00+01:00",
        "2021-01-04 21:00:00+00:00",
        "2021-01-04",
    ],
)
def test_an_event_time_is_read_in_every_spelling(text: str) -> None:
    bars = read_history(pl.DataFrame({"symbol": ["A"], "event_time": [text], "close": ["1.5"]}), OFFSET)

    assert bars.select("event_time", "knowledge_time", "close").row(0) == (START, START, 1.5)


def test_what_cannot_be_read_is_null() -> None:
    table = pl.DataFrame({"symbol": ["A"], "event_time": ["yesterday"], "close": ["much"], "volume": ["7"]})

    bars = read_history(table, OFFSET)

    assert bars.select("event_time", "close", "open", "volume").row(0) == (None, None, None, 7.0)


def test_a_file_without_a_needed_column_is_unreadable() -> None:
    with pytest.raises(UnreadableBarsError, match="event_time, close"):
        read_history(pl.DataFrame({"symbol": ["A"]}), OFFSET)


def test_a_chunk_never_splits_an_event_time() -> None:
    bars = to_bars(market(3, 4)).sort("event_time", "symbol")

    ends = [chunk_end(bars, 0, 4), chunk_end(bars, 6, 3), chunk_end(bars, 9, 40)]

    assert ends == [6, 9, 12]
    assert bars["event_time"][5] == day(1)


def test_the_same_bytes_are_the_same_import() -> None:
    assert import_name("a" * 64) == import_name("a" * 64) != import_name("b" * 64)
    assert is_sha256("a" * 64)
    assert not is_sha256("../" + "a" * 61)


@pytest.mark.parametrize(
    ("text", "adjusted"), [("true", True), (" FALSE ", False), ("1", True), ("0", False)]
)
def test_a_file_says_whether_its_prices_are_adjusted(text: str, adjusted: bool) -> None:
    table = pl.DataFrame({"symbol": ["A"], "event_time": ["2021-01-04"], "close": ["1"], "adjusted": [text]})

    assert read_history(table, OFFSET)["adjusted"].to_list() == [adjusted]


@pytest.mark.parametrize("text", ["10.5", None])
def test_a_file_that_leaves_open_what_is_adjusted_is_unreadable(text: str | None) -> None:
    table = pl.DataFrame(
        {
            "symbol": ["A", "A"],
            "event_time": ["2021-01-04"] * 2,
            "close": ["1"] * 2,
            "adjusted": ["true", text],
        }
    )

    with pytest.raises(UnreadableBarsError, match="write true or false"):
        read_history(table, OFFSET)
