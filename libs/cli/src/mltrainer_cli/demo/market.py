"""Plays the bundled prices as if they were live: history first, then each day when its close passes."""

import asyncio
import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer_common.clock import Clock
from mltrainer_sdk import Client
from mltrainer_sdk.client import bar

from mltrainer_cli.market_data import ClosingPrice, bundled_prices

CLOSE_UTC = time(21, 0)
_POLL_S = 0.05


def close_time(day: date) -> datetime:
    """Returns when the bar of a day closes; 16:00 in New York in winter, taken for the whole year."""
    return datetime.combine(day, CLOSE_UTC, UTC)


@dataclass(frozen=True, slots=True)
class Market:
    """The bundled prices in two parts.

    Attributes:
        history: Prices of the days before the replay starts.
        days: The days of the replay with their prices, in order.
    """

    history: tuple[ClosingPrice, ...]
    days: tuple[tuple[date, tuple[ClosingPrice, ...]], ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        """The universe."""
        return tuple(dict.fromkeys(price.symbol for price in self.history))

    def history_csv(self) -> bytes:
        """Writes the history as the compressed CSV that a bulk load reads."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["symbol", "event_time", "close"])
        for price in self.history:
            writer.writerow([price.symbol, close_time(price.day).isoformat(), repr(price.price_usd)])
        return gzip.compress(text.getvalue().encode(), mtime=0)


def load_market(first_day: date, replay_start: datetime) -> Market:
    """Splits the bundled prices at the start of the replay; days before `first_day` are left out."""
    history: list[ClosingPrice] = []
    replay: dict[date, list[ClosingPrice]] = {}
    for price in bundled_prices():
        if price.day < first_day:
            continue
        if close_time(price.day) <= replay_start:
            history.append(price)
        else:
            replay.setdefault(price.day, []).append(price)
    return Market(tuple(history), tuple((day, tuple(prices)) for day, prices in sorted(replay.items())))


def replay_clock(start: datetime, days_per_second: float, anchor: datetime) -> str:
    """Spells the market clock that starts at `start` now and passes so many days a second."""
    speed = days_per_second * timedelta(days=1).total_seconds()
    return f"replay:{start.isoformat()}@{anchor.isoformat()}x{speed}"


@dataclass(slots=True)
class BarFeed:
    """Publishes each day's bars on Kafka when the market clock has passed its close."""

    client: Client
    market: Market
    clock: Clock
    published: list[date] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Publishes until the bundled prices end."""
        for day, prices in self.market.days:
            await self._until(close_time(day))
            await self.client.publish_bars(_bars(prices))
            self.published.append(day)
            self._arrived.set()
            self._arrived.clear()

    async def wait_for(self, index: int) -> None:
        """Returns once the day of an index is published."""
        while len(self.published) <= index:
            await self._arrived.wait()

    async def _until(self, market_time: datetime) -> None:
        # The clock's speed is its own affair, so its time cannot be slept for.
        while self.clock.now() < market_time:  # noqa: ASYNC110 - nothing signals a passing clock
            await asyncio.sleep(_POLL_S)


def _bars(prices: Sequence[ClosingPrice]) -> list[BarClosed]:
    return [bar(price.symbol, close_time(price.day), price.price_usd) for price in prices]
