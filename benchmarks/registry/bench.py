"""Measures our registry beside MLflow on one PostgreSQL server, in alternating rounds.

    python benchmarks/registry/bench.py --output json

See README.md beside this file for what is measured and how to read it.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fill
import processes
from mltrainer_common.authorization import Role
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key
from mltrainer_testkit.databases import create_postgres_database
from mltrainer_testkit.kafka import kafka_broker
from mltrainer_testkit.postgres import postgres_server

MODELS = tuple(f"model-{n}" for n in range(200))
SMALL, LARGE = "model-0", "model-1"
VERSIONS, LARGE_VERSIONS = 5, 100_000
WRITERS, EACH = 32, 10
GROWN = MODELS[2:]
UPLOADS = 5_000
REGISTRY, PEER, FLOOR = "registry", "mlflow", "floor"
REPEATS_AT_ONE_CALLER = 3
CORES = os.cpu_count() or 1
NO_BROKER = "127.0.0.1:1"
COLUMNS = {
    "per_s": "per s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_ms": "server CPU ms",
    "postgres_cpu_ms": "PostgreSQL CPU ms",
    "generator_share": "generator's share",
    "errors": "errors",
}


@dataclass(frozen=True)
class Cell:
    """What one peer did in one round; CPU in ms per operation of the server's own processes."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    postgres_cpu_ms: float
    generator_share: float
    errors: int


@dataclass
class Stage:
    """Everything that runs while the rounds go on."""

    load: processes.LoadGenerator
    servers: dict[str, processes.Server]
    postgres: Any
    server_url: str
    registry_url: str
    folder: Path
    kafka: str
    token: str
    manifest_digest: str = ""
    next_prefix: int = 0

    async def cell(self, peer: str, operation: str, callers: int, **work: Any) -> tuple[Cell, list[int]]:
        """Runs one job, split over the processes of the load generator, and returns also the numbers made."""
        server = self.servers[peer]
        jobs = [self._job(peer, operation, share, work) for share in shares(callers)]
        before = server.cpu_s(), self._postgres_cpu_s()
        results = await self.load.run(jobs)
        used_s = server.cpu_s() - before[0], self._postgres_cpu_s() - before[1]
        return summed(results, *used_s), [number for one in results for number in one["numbers"]]

    def _job(self, peer: str, operation: str, callers: int, work: dict[str, Any]) -> dict[str, Any]:
        self.next_prefix += 1
        return {
            "peer": peer,
            "operation": operation,
            "address": self.servers[peer].address,
            "callers": callers,
            "token": self.token,
            "manifest_digest": self.manifest_digest,
            "training_prefix": f"bench{self.next_prefix}-",
            **work,
        }

    def _postgres_cpu_s(self) -> float:
        if self.postgres is None:
            return float("nan")
        return sum(processes.tree_cpu_s(process) for process in processes.tree(self.postgres))


def shares(callers: int) -> list[int]:
    return [callers] if callers == 1 else [callers // 2, callers - callers // 2]


def summed(results: list[dict[str, Any]], server_cpu_s: float, postgres_cpu_s: float) -> Cell:
    waits = sorted(wait for one in results for wait in one["waits_us"])
    elapsed_s = max(one["elapsed_s"] for one in results)
    errors = [error for one in results for error in one["errors"]]
    if errors:
        sys.stderr.write(f"{len(errors)} errors, first: {errors[0]}\n")
    if not waits:
        raise RuntimeError(f"nothing was answered: {errors[:1]}")
    return Cell(
        per_s=len(waits) / elapsed_s,
        p50_ms=waits[len(waits) // 2] / 1e3,
        p99_ms=waits[min(int(len(waits) * 0.99), len(waits) - 1)] / 1e3,
        cpu_ms=server_cpu_s / len(waits) * 1e3,
        postgres_cpu_ms=postgres_cpu_s / len(waits) * 1e3,
        generator_share=sum(one["cpu_s"] for one in results) / elapsed_s / CORES,
        errors=len(errors),
    )


Rounds = dict[str, dict[str, list[Cell]]]


async def measure_rounds(stage: Stage, rounds_count: int, seconds: float) -> dict[str, Any]:
    """Lets the peers take turns, so that both meet the load of the machine's other users."""
    rounds: Rounds = {}
    gaps = dict.fromkeys(stage.servers.keys() - {FLOOR}, 0)

    async def one(title: str, peer: str, *what: Any, **work: Any) -> list[int]:
        cell, numbers = await stage.cell(peer, *what, **work)
        rounds.setdefault(title, {}).setdefault(peer, []).append(cell)
        return numbers

    for peer in stage.servers:  # warms up
        await stage.cell(peer, "alias", 8, seconds=1.0, models=MODELS)
    idle = await idle_shares(stage)
    for number in range(rounds_count):
        everybody = list(stage.servers)[:: 1 if number % 2 else -1]
        for callers in (1,) * REPEATS_AT_ONE_CALLER + (8, 32):
            for peer in everybody:
                await one(f"alias lookup, {callers}", peer, "alias", callers, seconds=seconds, models=MODELS)
        peers = [peer for peer in everybody if peer != FLOOR]
        for callers in (1, 32):
            for peer in peers:
                await prepare_uploads(stage, peer)
                await one(
                    f"create version, {callers}", peer, "create", callers, seconds=seconds, models=GROWN
                )
        for peer in peers:
            await prepare_uploads(stage, peer)
            model = await new_model(stage, peer, number)
            numbers = await one("one model, 32 writers", peer, "create", WRITERS, each=EACH, models=(model,))
            gaps[peer] += len(set(range(1, WRITERS * EACH + 1)) ^ set(numbers))
    return {"rounds": rounds, "wrong_numbers": gaps, "idle_cpu_share": idle, **start_and_memory(stage)}


def start_and_memory(stage: Stage) -> dict[str, Any]:
    return {
        "memory_mib": {peer: round(server.memory_mib()) for peer, server in stage.servers.items()},
        "start_s": {peer: round(server.start_s, 1) for peer, server in stage.servers.items()},
    }


async def idle_shares(stage: Stage, seconds: float = 2.0) -> dict[str, float]:
    """Returns what each server uses of one core while nobody calls."""
    before = {peer: server.cpu_s() for peer, server in stage.servers.items()}
    await asyncio.sleep(seconds)
    return {
        peer: round((server.cpu_s() - before[peer]) / seconds, 4) for peer, server in stage.servers.items()
    }


async def prepare_uploads(stage: Stage, peer: str) -> None:
    """Has the bytes of the next versions uploaded already; MLflow takes none with a version either."""
    if peer == REGISTRY:
        for ahead in (1, 2):
            await fill.copy_uploads(stage.registry_url, f"bench{stage.next_prefix + ahead}-", UPLOADS)


async def new_model(stage: Stage, peer: str, number: int) -> str:
    model = f"fresh-{number}"
    if peer == PEER:
        await fill.create_peer_model(stage.servers[PEER].address, model)
    return model


async def measure_size(stage: Stage, pairs: int, seconds: float) -> dict[str, Any]:
    """Compares the alias of a model with 5 versions and that of one with 100,000."""
    cells: dict[str, list[Cell]] = {SMALL: [], LARGE: []}
    for number in range(pairs):
        for model in (SMALL, LARGE)[:: 1 if number % 2 else -1]:
            cell, _ = await stage.cell(REGISTRY, "alias", 1, seconds=seconds, models=(model,))
            cells[model].append(cell)
    ratios = [large.p50_ms / small.p50_ms for small, large in zip(cells[SMALL], cells[LARGE], strict=True)]
    return {"p50_ratio": spread(ratios), "versions": [VERSIONS, LARGE_VERSIONS], **start_and_memory(stage)}


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "minimum": round(min(values), 3),
        "maximum": round(max(values), 3),
    }


def summary(measured: dict[str, Any]) -> dict[str, Any]:
    """Replaces the cells by their medians and extremes, and adds how often ours does what the peer does."""
    rows: dict[str, Any] = {}
    for title, peers in measured.pop("rounds").items():
        row = rows[title] = {
            peer: {name: spread([getattr(cell, name) for cell in cells]) for name in COLUMNS}
            for peer, cells in peers.items()
        }
        if PEER in row:
            pairs = zip(peers[REGISTRY], peers[PEER], strict=True)
            row["throughput_ratio"] = spread([ours.per_s / theirs.per_s for ours, theirs in pairs])
    return {"rows": rows, **measured}


def stages(options: argparse.Namespace, folder: Path, stack: ExitStack) -> Stage:
    """Starts everything that both parts need."""
    server_url = stack.enter_context(postgres_server(is_durable=True))
    kafka = NO_BROKER
    if not options.without_broker:
        kafka = stack.enter_context(kafka_broker(folder / "kafka"))
    load = processes.LoadGenerator(2)
    stack.callback(load.close)
    key = load_or_create_token_key(folder / "token.key")
    token = TokenIssuer(key, "services/bench", [Role.SERVICE, Role.OPERATOR]).token("registry")
    postgres_url = asyncio.run(create_postgres_database(server_url))
    postgres = processes.find_postgres()
    return Stage(load, {}, postgres, server_url, postgres_url, folder, kafka, token)


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        stage = stages(options, folder, stack)
        with ExitStack() as servers:
            registry = processes.registry(folder, stage.registry_url, stage.kafka)
            stage.servers[REGISTRY] = servers.enter_context(registry)
            if not options.without_peer:
                peer_url = asyncio.run(create_postgres_database(stage.server_url))
                stage.servers[PEER] = servers.enter_context(processes.peer(folder, peer_url))
            stage.servers[FLOOR] = servers.enter_context(processes.floor(folder))
            asyncio.run(fill_all(stage))
            measured = asyncio.run(measure_rounds(stage, options.rounds, options.seconds))
        result = {"load_before": os.getloadavg(), **summary(measured)}
        asyncio.run(fill.grow_model(stage.registry_url, LARGE, LARGE_VERSIONS))
        with processes.registry(folder, stage.registry_url, stage.kafka) as grown:
            stage.servers = {REGISTRY: grown}
            result["size"] = asyncio.run(measure_size(stage, 2 * options.rounds + 1, options.seconds / 2))
    return result


async def fill_all(stage: Stage) -> None:
    async with asyncio.TaskGroup() as group:
        registry = stage.servers[REGISTRY].address
        ours = group.create_task(
            fill.fill_registry(registry, stage.token, stage.registry_url, MODELS, VERSIONS)
        )
        if PEER in stage.servers:
            group.create_task(fill.fill_peer(stage.servers[PEER].address, MODELS, VERSIONS))
    stage.manifest_digest = ours.result()


def table(result: dict[str, Any]) -> str:
    lines = [f"{'':<24}{'':<9}" + "".join(f"{title:>22}" for title in COLUMNS.values())]
    for title, row in result["rows"].items():
        for peer in (REGISTRY, PEER, FLOOR):
            if peer in row:
                cells = "".join(f"{shown(row[peer][name]):>22}" for name in COLUMNS)
                lines.append(f"{title:<24}{peer:<9}{cells}")
        if "throughput_ratio" in row:
            lines.append(f"{'':<24}ours does {shown(row['throughput_ratio'])} times as many")
    lines += [
        f"{name}: {result[name]}" for name in ("wrong_numbers", "idle_cpu_share", "memory_mib", "start_s")
    ]
    size = result["size"]
    lines.append(
        f"alias of {LARGE_VERSIONS} versions against {VERSIONS}: p50 x {shown(size['p50_ratio'])}; "
        f"start {size['start_s'][REGISTRY]} s, {size['memory_mib'][REGISTRY]} MiB"
    )
    return "\n".join(lines)


def shown(values: dict[str, float]) -> str:
    return f"{values['median']:.4g} ({values['minimum']:.4g}-{values['maximum']:.4g})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of calls of each peer in each cell")
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--without-broker", action="store_true", help="leave the events in the outbox")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mltrainer-registry-") as folder:
        result = run(options, Path(folder))
    print(json.dumps(result, indent=1) if options.output == "json" else table(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
