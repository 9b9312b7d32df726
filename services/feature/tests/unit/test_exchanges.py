from datetime import UTC, datetime

import polars as pl
import pytest
from mltrainer_feature.domain.bars import BAR_SCHEMA, Bars
from mltrainer_feature.domain.exchanges import InvalidExchangesError, parse_exchanges


def bars(*moments: tuple[str, str]) -> Bars:
    times = [datetime.fromisoformat(moment).replace(tzinfo=UTC) for _, moment in moments]
    rows = [
        (symbol, time, time, 10.0, None, None, None, None, True)
        for (symbol, _), time in zip(moments, times, strict=True)
    ]
    return pl.DataFrame(rows, schema=BAR_SCHEMA, orient="row")


def test_a_bar_of_a_closed_exchange_is_refused_and_others_stay() -> None:
    exchanges = parse_exchanges("BTC-*=24/7, *=XNYS:daily")
    saturday, friday = "2022-03-12T21:00", "2022-03-11T21:00"

    usable, refused = exchanges.split(
        bars(("A", friday), ("A", saturday), ("BTC-USD", saturday), ("B", "2022-03-11T16:00"))
    )

    assert usable["symbol"].to_list() == ["A", "BTC-USD"]
    assert [(one.symbol, one.reason) for one in refused] == [("A", "MARKET_CLOSED"), ("B", "WRONG_TIME_ZONE")]


def test_a_symbol_without_an_exchange_trades_always() -> None:
    given = bars(("GOLD", "2022-03-12T21:00"))

    usable, refused = parse_exchanges("A=XNYS").split(given)

    assert usable.equals(given)
    assert refused == []


def test_a_pattern_may_hold_an_equals_sign() -> None:
    _, refused = parse_exchanges("EURUSD=X=24/5").split(bars(("EURUSD=X", "2022-03-12T12:00")))

    assert [one.reason for one in refused] == ["MARKET_CLOSED"]


@pytest.mark.parametrize("text", ["XNYS", "*=XMOON", "*=XNYS:weekly", "=XNYS"])
def test_what_is_no_list_of_exchanges_is_refused(text: str) -> None:
    with pytest.raises(InvalidExchangesError):
        parse_exchanges(text)
