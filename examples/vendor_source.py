"""A vendor's closes as bars: one adapter reads the vendor's format, everything else is the platform's.

Usage: .venv/bin/python examples/vendor_source.py DATA_DIRECTORY FILE

The vendor sends lines of JSON, corrections as further lines with a later `sent`, all times of New York:
{"ric": "AAPL.O", "date": "2024-07-03", "close_at": "13:00", "sent": "2024-07-03 13:00:07", "px": 221.55,
 "vol": 37369800, "factor": 1.0}
"""

import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer_sdk import Client, Role

VENDOR_ZONE = ZoneInfo("America/New_York")
_MARKETS = (".OQ", ".O", ".N")


@dataclass(frozen=True, slots=True)
class Reading:
    """What lines of the vendor hold: bars, and a sentence for each line that holds none."""

    bars: tuple[BarClosed, ...]
    problems: tuple[str, ...]


class BarSink(Protocol):
    """Takes bars; the SDK's client does."""

    async def publish_bars(self, bars: Sequence[BarClosed]) -> None:
        """Publishes bars in order; publishing them again is harmless."""
        ...


def to_bar(record: dict[str, Any]) -> BarClosed:
    """Says in the platform's words what the vendor says; this function is the adapter.

    Prices that make no sense are passed on: the platform refuses them with a reason and keeps them.
    """
    closed = _moment(f"{record['date']} {record['close_at']}")
    factor = float(record["factor"])
    bar = BarClosed(
        symbol=_symbol(record["ric"]),
        close=float(record["px"]) * factor,
        volume=float(record["vol"]) / factor,
        adjusted=True,
    )
    bar.event_time.FromDatetime(closed)
    # When the vendor sent it, not when this program read it: a file read late was known in time.
    bar.knowledge_time.FromDatetime(max(closed, _moment(record["sent"])))
    return bar


def read_lines(lines: Iterable[str]) -> Reading:
    """Reads lines; one that holds no bar is named and holds up no other."""
    bars, problems = [], []
    for number, line in enumerate(lines, start=1):
        try:
            bars.append(to_bar(json.loads(line)))
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            problems.append(f"line {number}: {error!r}")
    return Reading(tuple(bars), tuple(problems))


async def publish(sink: BarSink, lines: Iterable[str]) -> Reading:
    """Publishes all lines; after a crash all of them again, since the platform drops what it knows."""
    reading = read_lines(lines)
    await sink.publish_bars(reading.bars)
    return reading


def _symbol(ric: str) -> str:
    ending = next((market for market in _MARKETS if ric.endswith(market)), "")
    return ric.removesuffix(ending)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=VENDOR_ZONE).astimezone(UTC)


async def main(data_directory: str, file: str) -> int:
    """Publishes a file and prints what was no bar."""
    async with Client.connect(data_directory, subject="vendor", roles=[Role.PRODUCER]) as client:
        text = await asyncio.to_thread(Path(file).read_text, "utf-8")
        reading = await publish(client, text.splitlines())
    print(f"{len(reading.bars)} bars published")
    for problem in reading.problems:
        print(problem, file=sys.stderr)
    return 1 if reading.problems else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
