"""Measures how long a published bar takes until it can be read online, and what it costs.

    python benchmarks/feature_stream/bench.py --seconds 30 --output result.json

See README.md beside this file for what each row means.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import stage
import write_path
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer_cli.kafka import start_broker
from mltrainer_messaging.envelope import OutgoingEvent, encode_event

SYMBOLS = tuple(f"S{number:02}" for number in range(20))
TICK = timedelta(milliseconds=100)
POLL_S = 0.01
SETTLE_S = 60.0
FLOOR_TOPIC = "floor"
PARTITIONS = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from just before a bar was sent until it had arrived."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, waits_s: Sequence[float]) -> "Latency":
        waits = sorted(wait * 1e3 for wait in waits_s)
        at = [round(waits[min(len(waits) - 1, int(len(waits) * share))], 2) for share in (0.5, 0.95, 0.99)]
        return cls(len(waits), *at, round(waits[-1], 2))


Send = Callable[[OutgoingEvent], Awaitable[Any]]


def bar_event(symbol: str, tick: int, start: datetime) -> OutgoingEvent:
    """Encodes the bar of a symbol that closed at a tick."""
    bar = BarClosed(symbol=symbol, close=stage.close(symbol, tick), adjusted=True)
    bar.event_time.FromDatetime(start + tick * TICK)
    bar.knowledge_time.FromDatetime(start + tick * TICK)
    return encode_event(
        bar,
        source="/mltrainer/data-sources",
        event_id=f"{start.timestamp()}-{symbol}-{tick}",
        time=datetime.now(UTC),
        traceparent=None,
    )


async def publish(send: Send, start: datetime, ticks: int, *, spread: bool) -> dict[tuple[str, int], float]:
    """Sends the bars of ticks in an open loop; returns when each was sent, by symbol and microseconds."""
    sent: dict[tuple[str, int], float] = {}
    begin_s = time.perf_counter()
    first_us = (start - _EPOCH) // timedelta(microseconds=1)
    tick_us = TICK // timedelta(microseconds=1)
    pending = []
    for tick in range(ticks):
        for place, symbol in enumerate(SYMBOLS):
            due_s = begin_s + (tick + (place / len(SYMBOLS) if spread else 0)) * TICK.total_seconds()
            event = bar_event(symbol, tick, start)
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            sent[symbol, first_us + tick * tick_us] = time.perf_counter()
            pending.append(await send(event))
    await asyncio.gather(*pending)
    return sent


async def freshness(
    service: stage.FeatureService, send: Send, ticks: int, *, spread: bool
) -> tuple[Latency, float]:
    """Returns the latency of bars, and the CPU of the service per bar with the reads that find them out."""
    start = datetime.now(UTC).replace(microsecond=0)
    seen: dict[tuple[str, int], float] = {}
    before_s = service.cpu_s()
    reader = asyncio.create_task(_follow(service, seen))
    sent = await publish(send, start, ticks, spread=spread)
    until_s = time.perf_counter() + SETTLE_S
    last = max(moment for _, moment in sent)

    def arrived() -> bool:
        return all((symbol, last) in seen for symbol in SYMBOLS)

    while not arrived() and time.perf_counter() < until_s:  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(0.01)
    reader.cancel()
    cpu_us = (service.cpu_s() - before_s) / len(sent) * 1e6
    return Latency.of([_arrival(seen, symbol, moment) - at for (symbol, moment), at in sent.items()]), cpu_us


def _arrival(seen: dict[tuple[str, int], float], symbol: str, moment: int) -> float:
    """A bar that a newer one of its symbol overtook was readable when that one was."""
    return min(at for (name, time_us), at in seen.items() if name == symbol and time_us >= moment)


async def _follow(service: stage.FeatureService, seen: dict[tuple[str, int], float]) -> None:
    while True:
        times = await service.event_times_us(SYMBOLS)
        at = time.perf_counter()
        for symbol, moment in zip(SYMBOLS, times, strict=True):
            seen.setdefault((symbol, moment), at)
        await asyncio.sleep(POLL_S)


async def reading_cpu_share(service: stage.FeatureService, seconds: float) -> float:
    """Returns what the polling reader alone costs the service, in cores."""
    reader = asyncio.create_task(_follow(service, {}))
    before_s, begin_s = service.cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (service.cpu_s() - before_s) / (time.perf_counter() - begin_s)
    reader.cancel()
    return share


async def floor(bootstrap_servers: str, producer: AIOKafkaProducer, ticks: int) -> tuple[Latency, float]:
    """Produces and consumes the same messages and does nothing with them; CPU of this process, both ends."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(FLOOR_TOPIC, PARTITIONS, 1)])
    await admin.close()
    consumer = AIOKafkaConsumer(
        FLOOR_TOPIC, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    got: dict[bytes, float] = {}

    async def consume() -> None:
        async for record in consumer:
            got[record.value] = time.perf_counter()

    sent: dict[bytes, float] = {}

    async def send(event: OutgoingEvent) -> Any:
        sent[event.value or b""] = time.perf_counter()
        return await producer.send(FLOOR_TOPIC, event.value, key=event.key, headers=list(event.headers))

    before_s = time.process_time()
    task = asyncio.create_task(consume())
    await publish(send, datetime.now(UTC).replace(microsecond=0), ticks, spread=False)
    while len(got) < len(sent):  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(0.01)
    cpu_us = (time.process_time() - before_s) / len(sent) * 1e6
    task.cancel()
    await consumer.stop()
    return Latency.of([got[value] - at for value, at in sent.items()]), cpu_us


async def measure(options: argparse.Namespace, directory: Path, bootstrap_servers: str) -> dict[str, Any]:
    """Runs the floor and both ways of arrival against one broker and one service."""
    ticks = int(options.seconds / TICK.total_seconds())
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=10_000,
        )
        await producer.start()
        stack.push_async_callback(producer.stop)
        service = await stack.enter_async_context(
            stage.running_service(directory, bootstrap_servers, {"MLTRAINER_MARKET_CLOCK": "wall"})
        )
        await service.load(SYMBOLS, datetime.now(UTC), timedelta(minutes=1))

        async def send(event: OutgoingEvent) -> Any:
            return await producer.send(event.topic, event.value, key=event.key, headers=list(event.headers))

        await freshness(service, send, 50, spread=False)
        bare, bare_cpu_us = await floor(bootstrap_servers, producer, ticks)
        reading = await reading_cpu_share(service, 5.0)
        result: dict[str, Any] = {
            "floor: produce and consume only": {**asdict(bare), "cpu_us_per_bar": round(bare_cpu_us)}
        }
        for title, spread in (("closes of 20 symbols at once", False), ("one bar each 5 ms", True)):
            latency, cpu_us = await freshness(service, send, ticks, spread=spread)
            reading_us = reading * TICK.total_seconds() / len(SYMBOLS) * 1e6
            result[title] = {**asdict(latency), "cpu_us_per_bar": round(cpu_us - reading_us)}
        return result


def print_table(result: dict[str, Any]) -> None:
    columns = ("count", "p50_ms", "p95_ms", "p99_ms", "max_ms", "cpu_us_per_bar")
    print(f"{'bar published -> readable online, through Kafka':50}", *(f"{name:>14}" for name in columns))
    for title, row in result["freshness"].items():
        print(f"{title:50}", *(f"{row[name]:>14}" for name in columns))
    print(f"\n{'CPU us per row, batches of 20 rows':50}{'median':>14}{'lowest':>14}{'highest':>14}")
    for title, row in result["write_path"].items():
        print(f"{title:50}", *(f"{row[name]:>13}" for name in ("median", "lowest", "highest")))


def judge(result: dict[str, Any]) -> list[str]:
    """Returns what was not kept of the bounds."""
    bounds = tomllib.loads(Path(__file__).with_name("ranges.toml").read_text())["bound"]
    broken = []
    for title, row in result["freshness"].items():
        if not title.startswith("floor") and row["p99_ms"] > bounds["p99_ms"]:
            broken.append(f"{title}: p99 {row['p99_ms']} ms, bound {bounds['p99_ms']} ms")
    for title, row in result["write_path"].items():
        if title.startswith("online write") and row["median"] > bounds["online_write_us_per_row"]:
            broken.append(f"{title}: {row['median']} us, bound {bounds['online_write_us_per_row']} us")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each freshness run")
    parser.add_argument("--batches", type=int, default=200, help="batches of the write path")
    parser.add_argument("--output", type=Path, help="file for the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, start_broker(Path(folder) / "kafka") as broker:
        data = Path(folder) / "data"
        data.mkdir()
        result = {
            "load_average": os.getloadavg()[0],
            "freshness": asyncio.run(measure(options, data, broker.bootstrap_servers)),
            "write_path": asyncio.run(write_path.measure(Path(folder), options.batches))
            | asyncio.run(write_path.measure_redis(Path(folder), options.batches)),
        }
    print_table(result)
    if options.output:
        options.output.write_text(json.dumps(result, indent=2))
    for sentence in (broken := judge(result)):
        print("NOT KEPT:", sentence)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
