"""The worked example of `docs/adding-a-source.md`."""

import asyncio
import importlib.util
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer_feature.domain.bars import Bars, split_known_bars, split_new_bars
from mltrainer_feature.domain.exchanges import parse_exchanges
from mltrainer_feature.wire.events import to_received_bars
from mltrainer_messaging.envelope import Event

ROOT = Path(__file__).parents[4]
EARLY_CLOSE = {
    "ric": "AAPL.O",
    "date": "2024-07-03",
    "close_at": "13:00",
    "sent": "2024-07-03 13:00:07",
    "px": 200.0,
    "vol": 1000,
    "factor": 0.5,
}
CORRECTION = EARLY_CLOSE | {"sent": "2024-07-03 18:30:00", "px": 202.0}
NOW = datetime(2024, 7, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = ROOT / "examples" / "vendor_source.py"
    spec = importlib.util.spec_from_file_location("vendor_source", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class BarsInMemory:
    def __init__(self) -> None:
        self.published: list[BarClosed] = []

    async def publish_bars(self, bars: Sequence[BarClosed]) -> None:
        self.published += bars


def lines(*records: dict[str, Any]) -> list[str]:
    return [json.dumps(record) for record in records]


def received(bars: Sequence[BarClosed]) -> Bars:
    """Reads bars as the service does."""
    events = [
        Event(str(number), "", "/vendor", NOW, bar.symbol, bar, None, "", 0, number)
        for number, bar in enumerate(bars)
    ]
    return to_received_bars(events).bars


def test_the_adapter_says_symbol_times_and_adjusted_prices_in_the_platforms_words(
    example: ModuleType,
) -> None:
    bars = received(example.read_lines(lines(EARLY_CLOSE)).bars)

    assert bars.select("symbol", "event_time", "knowledge_time", "close", "volume", "adjusted").rows() == [
        (
            "AAPL",
            datetime(2024, 7, 3, 17, tzinfo=UTC),
            datetime(2024, 7, 3, 17, 0, 7, tzinfo=UTC),
            100.0,
            2000.0,
            True,
        )
    ]


def test_its_bars_close_within_the_sessions_of_their_exchange(example: ModuleType) -> None:
    bars = received(example.read_lines(lines(EARLY_CLOSE)).bars)

    usable, refused = parse_exchanges("*=XNYS:daily").split(bars)

    assert (usable.height, refused) == (1, [])


def test_a_correction_is_a_later_version_and_no_conflict(example: ModuleType) -> None:
    sound, refused = split_new_bars(received(example.read_lines(lines(EARLY_CLOSE, CORRECTION)).bars), NOW)

    fresh, conflicts = split_known_bars(sound.tail(1), sound.head(1))

    assert refused == conflicts == []
    assert fresh["close"].to_list() == [101.0]
    assert sound["event_time"].n_unique() == 1
    assert sound["knowledge_time"].is_sorted()


def test_a_price_of_zero_reaches_the_service_which_refuses_it(example: ModuleType) -> None:
    bars = received(example.read_lines(lines(EARLY_CLOSE | {"px": 0})).bars)

    usable, refused = split_new_bars(bars, NOW)

    assert usable.is_empty()
    assert [(one.symbol, one.field) for one in refused] == [("AAPL", "close")]


def test_a_line_without_a_bar_is_named_and_holds_up_no_other(example: ModuleType) -> None:
    broken = [
        "not JSON",
        "[]",
        *lines(
            {"ric": "A.N"},
            EARLY_CLOSE | {"date": "03.07.2024"},
            EARLY_CLOSE | {"factor": 0},
            EARLY_CLOSE | {"px": None},
        ),
    ]
    sink = BarsInMemory()

    reading = asyncio.run(example.publish(sink, [*broken, *lines(EARLY_CLOSE)]))

    assert [problem.partition(":")[0] for problem in reading.problems] == [f"line {n}" for n in range(1, 7)]
    assert sink.published == list(reading.bars)
    assert len(sink.published) == 1
