"""Kills the feature service with SIGKILL while bars stream in and history is loaded beside, and compares.

    python benchmarks/feature_recovery/bench.py --kills 20 --output result.json

See README.md beside this file.
"""

import argparse
import asyncio
import json
import random
import struct
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import check
import market
from aiokafka import AIOKafkaProducer
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer.feature.v1.resources_pb2 import BarImport
from mltrainer_cli.kafka import start_broker
from mltrainer_common.content_store import ContentStore
from mltrainer_common.errors import RpcFailure
from mltrainer_messaging.envelope import encode_event

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "feature_stream"))
import stage

HISTORY_DAYS = 4_500
_TIMEOUT_S = 300.0


async def feed(producer: AIOKafkaProducer, events: list[tuple[str, BarClosed]], seconds: float) -> None:
    """Publishes events over some time."""
    begin_s = time.monotonic()
    for number, (name, message) in enumerate(events):
        encoded = encode_event(
            message,
            source="/mltrainer/data-sources",
            event_id=name,
            time=datetime.now(UTC),
            traceparent=None,
        )
        await producer.send(encoded.topic, encoded.value, key=encoded.key, headers=list(encoded.headers))
        if (ahead_s := begin_s + number / len(events) * seconds - time.monotonic()) > 0:
            await asyncio.sleep(ahead_s)
    await producer.flush()


async def live_and_die(folder: Path, servers: str, sha256: str, lives: list[float]) -> list[int]:
    """Runs the service one short life after the other; returns how many bars each left stored."""
    stored = []
    for seconds in lives:
        async with stage.running_service(folder, servers) as service:
            # A piece of the load may hold the writer for longer than a call waits.
            with suppress(RpcFailure):
                await service.api.ImportBars(service_pb2.ImportBarsRequest(sha256=sha256))
            await asyncio.sleep(seconds)
            service.kill()
        stored.append(service.stored_bars())
    return stored


async def settled(service: stage.FeatureService, sha256: str, bars: int) -> BarImport:
    """Waits until the load is done and every bar of the stream is stored."""
    until_s = time.monotonic() + _TIMEOUT_S
    name = f"barImports/{sha256[:32]}"
    while time.monotonic() < until_s:
        try:
            found = await service.api.GetBarImport(service_pb2.GetBarImportRequest(name=name))
        except RpcFailure:
            found = BarImport()
        if found.state == BarImport.STATE_SUCCEEDED and service.stored_bars() >= bars:
            return found
        await asyncio.sleep(0.2)
    raise TimeoutError(f"{service.stored_bars()} of {bars} bars stored, the load is {found}")


async def served_vectors(service: stage.FeatureService, symbols: list[str]) -> dict[str, bytes]:
    """Reads every feature of every symbol as predictions do."""
    vectors = await service.vectors(symbols)
    return {symbol: struct.pack(f"<{len(values)}d", *values) for symbol, values in vectors.items()}


async def run(options: argparse.Namespace, folder: Path, servers: str) -> dict[str, Any]:
    """Loads, streams, kills, waits, and compares."""
    draw = random.Random(options.seed)
    whole = market.make_market(20, HISTORY_DAYS + options.days, options.seed)
    history = market.as_history([bar for bar in whole if bar.day < HISTORY_DAYS])
    live = market.with_restatements([bar for bar in whole if bar.day >= HISTORY_DAYS], 15, options.seed)
    events = market.arrivals(live, options.seed)
    data = folder / "data"
    data.mkdir()
    sha256 = ContentStore(str(data / "artifacts")).put_bytes(market.history_csv(history))
    lives = [draw.uniform(0.2, 2 * options.mean_life_s) for _ in range(options.kills)]
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
        await producer.start()
        stack.push_async_callback(producer.stop)
        async with stage.running_service(data, servers):
            pass  # makes the topics
        stored_at_death, _ = await asyncio.gather(
            live_and_die(data, servers, sha256, lives),
            feed(producer, events, 0.8 * sum(lives)),
        )
        expected = check.Recomputed.of([*history, *live])
        symbols = sorted({bar.symbol for bar in whole})
        async with stage.running_service(data, servers) as service:
            with suppress(RpcFailure):
                await service.api.ImportBars(service_pb2.ImportBarsRequest(sha256=sha256))
            await settled(service, sha256, len(expected.bars))
            served = await served_vectors(service, symbols)
    stored = check.Stored.read(data / "feature" / "feature.db", symbols)
    return {
        "kills": options.kills,
        "stored_at_death": stored_at_death,
        "events": len(events),
        "bars": len(expected.bars),
        "rows": expected.rows.height,
        "refused": stored.refused_count,
        "unusable": sum(name.endswith("-bad") for name, _ in events),
        "differences": check.differences(stored, expected, served),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--mean-life-s", type=float, default=3.0, help="how long the service lives on average"
    )
    parser.add_argument("--days", type=int, default=150, help="days of bars that are streamed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text, start_broker(Path(text) / "kafka") as broker:
        result = asyncio.run(run(options, Path(text), broker.bootstrap_servers))
    for name, value in result.items():
        print(f"{name:12} {value}")
    if options.output:
        options.output.write_text(json.dumps(result, indent=2))
    return 1 if result["differences"] or result["refused"] != result["unusable"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
