"""What every step of the demonstration works with."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from mltrainer_common.clock import Clock
from mltrainer_sdk import Client
from opentelemetry.trace import Tracer

from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.demo.facts import Facts
from mltrainer_cli.demo.market import BarFeed, Market, close_time

FIRST_DAY = date(2005, 1, 1)
FIRST_TEST_DAY = date(2019, 1, 1)
AS_OF = close_time(date(2021, 12, 31))
REPLAY_START = AS_OF.replace(hour=22)
DAYS_PER_SECOND = 0.6
VOLATILITY_STUDY = "demo-volatility"
RETURNS_STUDY = "demo-returns"
HORIZON_BARS = 5
VIEWS = ("market_returns", "market_volatility", "market_momentum", "market_cross_section")
OWNER = "demo"


@dataclass(slots=True)
class Scene:
    """The running stack and what was found so far."""

    data: DataDirectory
    client: Client
    market: Market
    clock: Clock
    feed: BarFeed
    tracer: Tracer
    facts: Facts = field(default_factory=Facts)


def midnight(day: date) -> datetime:
    """Returns the start of a day in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
