"""Measures searches and lineage over many versions, on SQLite or PostgreSQL; see README.md."""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.lineage_reader import SqlLineageReader
from mltrainer_registry.adapters.search import SqlSearch
from mltrainer_registry.domain.lineage import NodeKind, Origin
from mltrainer_registry.wire.searches import to_version_search
from sqlalchemy import insert

MODELS = 200
ROUNDS = 5
PAGE = 100
_CHUNK = 2_000
_START = datetime(2026, 1, 1, tzinfo=UTC)
_METRICS = ("r2", "rmse", "qlike", "ic", "rank_ic")
SEARCHES = (
    ("", ""),
    ("training = trainings/t777", ""),
    ("tags.env = prod", ""),
    ("dataset = datasets/d7", ""),
    ("metrics.r2 >= 0.999", ""),
    ("metrics.r2 >= 0.5 AND verdict = EDGE", ""),
    ("feature_view_version = bars@1 AND tags:env", ""),
    ("", "create_time desc"),
    ("", "metrics.r2 desc"),
)


def version_row(index: int) -> dict[str, Any]:
    """Returns a version."""
    lineage = {"training": "t", "attempt": 1, "study": "s", "dataset": "d", "dataset_sha256": "x"}
    rest = {"code_digest": "c", "environment_digest": "e", "computation_key": "k", "as_of_time": None}
    return {
        "model": f"m{index % MODELS}",
        "number": index // MODELS + 1,
        "state": "ACTIVE",
        "training": f"trainings/t{index}",
        "manifest": json.dumps({"digest": "m", "files": []}),
        "lineage": json.dumps({**lineage, **rest, "feature_view_versions": ["bars@1"]}),
        "target_kind": "LOG_REALIZED_VARIANCE",
        "horizon_bars": 5,
        "verdict": "EDGE" if index % 3 else "NO_EDGE",
        "metrics": json.dumps([["r2", index % 1_000 / 1_000, None]]),
        "report": b"",
        "create_time": _START + timedelta(seconds=index),
        "revision": index + 1,
        "state_revision": index + 1,
        "origin": "",
        "owner": "",
        "signature": "",
        "description": "",
        "tags": "{}",
    }


def fact_rows(index: int) -> Iterator[dict[str, Any]]:
    """Returns what a version is found by; one in 30,000 is tagged."""
    key = {"model": f"m{index % MODELS}", "number": index // MODELS + 1}
    for name in _METRICS:
        yield {**key, "kind": "metric", "name": name, "value": "", "amount": index % 1_000 / 1_000}
    lineage = {
        "study": "s",
        "dataset": f"datasets/d{index % 5_000}",
        "dataset_sha256": str(index % 5_000),
        "code_digest": "c",
        "environment_digest": "e",
        "computation_key": f"k{index}",
        "feature_view_version": "bars@1",
    }
    for name, value in lineage.items():
        yield {**key, "kind": "lineage", "name": name, "value": value, "amount": None}
    if index % 30_000 == 0:
        yield {**key, "kind": "tag", "name": "env", "value": "prod", "amount": None}


async def fill(database: Database, count: int) -> None:
    """Writes versions and their facts."""
    for start in range(0, count, _CHUNK):
        part = range(start, min(start + _CHUNK, count))
        async with database.transaction() as connection:
            await connection.execute(insert(tables.model_version), [version_row(index) for index in part])
            facts = [row for index in part for row in fact_rows(index)]
            await connection.execute(insert(tables.fact), facts)


async def measure(name: str, ask: Callable[[], Awaitable[int]]) -> None:
    """Prints the median and the range of a question."""
    times_ms, found = [], 0
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        found = await ask()
        times_ms.append(1_000 * (time.perf_counter() - begin))
    spread = f"{min(times_ms):.1f} to {max(times_ms):.1f}"
    print(f"{name:62} {found:5} {statistics.median(times_ms):9.1f}   {spread}")


async def execute(url: str, count: int) -> None:
    """Fills an empty database and asks."""
    await migrate(url, "mltrainer_registry.adapters.migrations")
    async with open_database(url) as database:
        await fill(database, count)
        search, lineage = SqlSearch(database), SqlLineageReader(database)
        print(f"{database.dialect}, {count} versions of {MODELS} models, pages of {PAGE}, {ROUNDS} rounds")
        print(f"{'question':62} {'found':>5} {'median ms':>9}   range")
        for text, order_by in SEARCHES:
            wanted = to_version_search(api.ListModelVersionsRequest(filter=text, order_by=order_by), None)

            async def versions(wanted: Any = wanted) -> int:
                return len((await search.versions(None, wanted, PAGE, "")).items)

            await measure(f"versions: {text or 'all'} {order_by and 'by ' + order_by}", versions)
        for origin in (
            Origin(NodeKind.DATASET, "datasets/d7"),
            Origin(NodeKind.FEATURE_VIEW_VERSION, "bars@1"),
        ):

            async def descendants(origin: Origin = origin) -> int:
                return len((await lineage.descendants(origin, PAGE, "")).items)

            await measure(f"descendants: {origin.name}", descendants)


def main() -> None:
    """Measures on a SQLite file of its own, or on an empty database that the caller names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database")
    parser.add_argument("--versions", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database_url or f"sqlite:///{folder}/registry.db"
        asyncio.run(execute(url, options.versions))


if __name__ == "__main__":
    main()
