"""Bars of a small market, in few words."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer_feature.domain.bars import BAR_SCHEMA, Bars
from mltrainer_feature.wire.times import write_time

START = datetime(2021, 1, 4, 21, tzinfo=UTC)


def day(index: int) -> datetime:
    """Returns the close of a day."""
    return START + timedelta(days=index)


@dataclass(frozen=True, slots=True)
class Quote:
    """A bar, in the fewest words."""

    symbol: str
    day: int
    close: float
    known_after: timedelta = timedelta(0)

    @property
    def knowledge_time(self) -> datetime:
        """Returns when the bar was known."""
        return day(self.day) + self.known_after


def market(symbols: int, days: int, seed: int = 1) -> list[Quote]:
    """Makes a market in which every bar is known at its close."""
    draw = random.Random(seed)
    closes = [100.0] * symbols
    quotes = []
    for index in range(days):
        for number in range(symbols):
            closes[number] *= 1 + draw.gauss(0, 0.02)
            quotes.append(Quote(f"S{number}", index, closes[number]))
    return quotes


def to_bars(quotes: Sequence[Quote]) -> Bars:
    """Makes bars as the service keeps them."""
    records = [
        (quote.symbol, day(quote.day), quote.knowledge_time, quote.close, None, None, None, None, True)
        for quote in quotes
    ]
    return pl.DataFrame(records, schema=BAR_SCHEMA, orient="row")


def to_event(quote: Quote) -> BarClosed:
    """Makes the event of a bar."""
    return BarClosed(
        symbol=quote.symbol,
        event_time=write_time(day(quote.day)),
        knowledge_time=write_time(quote.knowledge_time),
        close=quote.close,
        adjusted=True,
    )
