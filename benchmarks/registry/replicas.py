"""Measures how soon a second replica knows of a change, by polling, by naming its revision, and by NOTIFY.

python benchmarks/registry/replicas.py
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import asyncpg
import fill
import processes
from bench import NO_BROKER
from crash import issued_token
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer_testkit.databases import create_postgres_database
from mltrainer_testkit.postgres import postgres_server

MODEL, VERSIONS = "model-0", 2
ALIAS = f"models/{MODEL}/aliases/live"
IDLE_S = 10.0


async def measure(
    first: processes.Server, second: processes.Server, token: str, moves: int
) -> dict[str, Any]:
    metadata = (("authorization", f"Bearer {token}"),)
    writer, reader = fill.stub(first.address), fill.stub(second.address)
    watched, named = [], []
    async with aclosing(alias_changes(reader, metadata)) as changes:
        _ = await anext(changes)
        present = await writer.GetAlias(api.GetAliasRequest(name=ALIAS), metadata=metadata)
        for _ in range(moves):
            await asyncio.sleep(random.uniform(0.1, 0.4))
            number = int(present.version.rpartition("/")[2]) % VERSIONS + 1
            version = f"models/{MODEL}/versions/{number}"
            request = api.MoveAliasRequest(name=ALIAS, version=version, expected_version=present.version)
            present = await writer.MoveAlias(request, metadata=metadata)
            answered_s = time.perf_counter()
            if random.random() < 0.5:
                asked = api.GetAliasRequest(name=ALIAS, min_revision=present.revision)
                answer = await reader.GetAlias(asked, metadata=metadata, timeout=5)
                assert answer.revision >= present.revision
                named.append(time.perf_counter() - answered_s)
                _ = await anext(changes)
            else:
                _ = await anext(changes)
                watched.append(time.perf_counter() - answered_s)
    return {
        "watcher_of_another_replica_ms": spread(watched),
        "read_that_names_the_revision_ms": spread(named),
    }


async def alias_changes(reader: Any, metadata: Any) -> AsyncIterator[int]:
    async for item in reader.WatchModels(api.WatchModelsRequest(), metadata=metadata):
        if item.WhichOneof("change") == "alias":
            yield item.revision


async def notify(url: str, commits: int) -> dict[str, Any]:
    """Returns how soon a listener hears of a commit, and what NOTIFY adds to the commit."""
    listener, writer = await asyncpg.connect(url), await asyncpg.connect(url)
    heard: asyncio.Queue[float] = asyncio.Queue()
    await listener.add_listener("changes", lambda *_: heard.put_nowait(time.perf_counter()))
    await writer.execute("CREATE TABLE noted (n int)")
    plain, noted, lags = [], [], []
    for n in range(commits):
        started_s = time.perf_counter()
        async with writer.transaction():
            await writer.execute("INSERT INTO noted VALUES ($1)", n)
            if n % 2:
                await writer.execute("NOTIFY changes")
        committed_s = time.perf_counter()
        (noted if n % 2 else plain).append(committed_s - started_s)
        if n % 2:
            lags.append(max(0.0, await heard.get() - committed_s))
    await listener.close()
    await writer.close()
    return {
        "notify_to_listener_ms": spread(lags),
        "commit_ms": spread(plain),
        "commit_with_notify_ms": spread(noted),
    }


def spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": round(statistics.median(ordered) * 1e3, 2),
        "maximum": round(ordered[-1] * 1e3, 2),
        "samples": len(ordered),
    }


def idle_cpu_share(server: processes.Server) -> float:
    before = server.cpu_s()
    time.sleep(IDLE_S)
    return round((server.cpu_s() - before) / IDLE_S, 4)


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        url = asyncio.run(create_postgres_database(stack.enter_context(postgres_server(is_durable=True))))
        first = stack.enter_context(processes.registry(folder, url, NO_BROKER, "0"))
        token = issued_token(folder)
        asyncio.run(fill.fill_registry(first.address, token, url, (MODEL,), VERSIONS))
        result: dict[str, Any] = {}
        for poll_s in ("0.25", "3600"):
            settings = {"MLTRAINER_REGISTRY_CHANGE_POLL_S": poll_s}
            with processes.registry(folder, url, NO_BROKER, "1", settings) as second:
                if poll_s == "0.25":
                    result |= asyncio.run(measure(first, second, token, options.moves))
                result[f"idle_cpu_share_polling_every_{poll_s}_s"] = idle_cpu_share(second)
        return result | asyncio.run(notify(url, options.moves * 4))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mltrainer-replicas-") as folder:
        print(json.dumps(run(options, Path(folder)), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
