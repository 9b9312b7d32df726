"""A made-up market whose bars arrive as badly as bars do: twice, late, restated, unordered, unusable."""

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from mltrainer.feature.v1.events_pb2 import BarClosed

START = datetime(2010, 1, 4, 21, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, and how long after its close it was known."""

    symbol: str
    day: int
    close: float
    known_after: timedelta = timedelta(0)

    @property
    def event_time(self) -> datetime:
        return START + timedelta(days=self.day)

    @property
    def knowledge_time(self) -> datetime:
        return self.event_time + self.known_after


def make_market(symbols: int, days: int, seed: int) -> list[Bar]:
    """Makes one bar per symbol and day, but for a few that did not trade."""
    draw = random.Random(seed)
    closes = [100.0] * symbols
    bars = []
    for day in range(days):
        for number in range(symbols):
            closes[number] *= 1 + draw.gauss(0, 0.02)
            if draw.random() > 0.01:
                bars.append(Bar(f"S{number:02}", day, closes[number], timedelta(minutes=draw.randrange(600))))
    return bars


def as_history(bars: list[Bar]) -> list[Bar]:
    """Returns bars as a file tells of them: known at their close."""
    return [replace(bar, known_after=timedelta(0)) for bar in bars]


def history_csv(bars: list[Bar]) -> bytes:
    lines = [f"{bar.symbol},{bar.event_time.isoformat()},{bar.close!r}" for bar in bars]
    return "\n".join(["symbol,event_time,close", *lines]).encode()


def with_restatements(bars: list[Bar], count: int, seed: int) -> list[Bar]:
    """Adds corrections that are known days later."""
    draw = random.Random(seed)
    restated = [
        replace(bar, close=bar.close * 1.01, known_after=timedelta(days=draw.randint(1, 20)))
        for bar in draw.sample(bars, count)
    ]
    return [*bars, *restated]


def arrivals(bars: list[Bar], seed: int) -> list[tuple[str, BarClosed]]:
    """Orders events by when they come: a little out of order, some twice, some of them unusable."""
    draw = random.Random(seed)
    events = []
    for bar in bars:
        name = f"{bar.symbol}-{bar.day}-{bar.known_after}"
        place = bar.knowledge_time.timestamp() + draw.uniform(0, 2 * 86_400)
        events.append((place, name, bar))
        if draw.random() < 0.05:
            events.append((place + draw.uniform(0, 3 * 86_400), draw.choice([name, f"{name}-again"]), bar))
        if draw.random() < 0.01:
            events.append((place, f"{name}-bad", replace(bar, close=draw.choice([0.0, -1.0, float("nan")]))))
    return [(name, to_event(bar)) for _, name, bar in sorted(events, key=lambda item: item[:2])]


def to_event(bar: Bar) -> BarClosed:
    event = BarClosed(symbol=bar.symbol, close=bar.close, adjusted=True)
    event.event_time.FromDatetime(bar.event_time)
    event.knowledge_time.FromDatetime(bar.knowledge_time)
    return event
