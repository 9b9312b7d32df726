"""Measures the calls that trading apps wait for, and what our interceptor chain adds to each of them.

    python benchmarks/calls/bench.py --rounds 9 --calls 640 --output result.json

See README.md beside this file for how to read the table.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import tomllib
from contextlib import aclosing
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc
import stage
from measured_service import CPU_METHOD
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_common.authorization import Role
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key

CALLERS = (1, 8, 32)
VARIANTS = ("bare", "chain")
SETTLE_S = 3.0
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


@dataclass(frozen=True)
class Round:
    """What one variant took in one round."""

    p50_us: float
    p99_us: float
    cpu_us: float


class Server:
    """Both ports of one measured service, called from this process."""

    def __init__(self, target: stage.Target, ports: stage.Ports, token: str, trace_ratio: float) -> None:
        self._target = target
        self._channels = {
            "bare": grpc.aio.insecure_channel(ports.bare),
            "chain": grpc.aio.insecure_channel(ports.guarded),
        }
        self._cpu = self._channels["bare"].unary_unary(CPU_METHOD)
        self._metadata = [
            (("authorization", f"Bearer {token}"), ("traceparent", f"{TRACE}{flag}"))
            for flag in sampling_flags(trace_ratio)
        ]

    async def aclose(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def measure(self, variant: str, callers: int, calls: int) -> Round:
        """Makes so many calls from so many callers at once."""
        call = self._channels[variant].unary_unary(self._target.method)
        metadata = cycle(self._metadata)
        waits: list[float] = []

        async def caller() -> None:
            for _ in range(calls // callers):
                started_s = time.perf_counter()
                await call(self._target.request, metadata=next(metadata), timeout=5.0)
                waits.append(time.perf_counter() - started_s)

        before_ns = await self._cpu_ns()
        await asyncio.gather(*(caller() for _ in range(callers)))
        cpu_ns = await self._cpu_ns() - before_ns
        ordered = sorted(waits)
        return Round(
            p50_us=ordered[len(ordered) // 2] * 1e6,
            p99_us=ordered[int(len(ordered) * 0.99)] * 1e6,
            cpu_us=cpu_ns / len(waits) / 1e3,
        )

    async def idle_cpu_share(self, seconds: float) -> float:
        """Returns what the process uses of one core while nobody calls."""
        before_ns = await self._cpu_ns()
        await asyncio.sleep(seconds)
        return (await self._cpu_ns() - before_ns) / seconds / 1e9

    async def _cpu_ns(self) -> int:
        return int.from_bytes(await self._cpu(b""), "little")


def sampling_flags(trace_ratio: float) -> list[str]:
    """Spreads the sampled calls evenly, as if callers had drawn them."""
    return ["01" if int((n + 1) * trace_ratio) > int(n * trace_ratio) else "00" for n in range(1000)]


Rounds = dict[int, dict[str, list[Round]]]


async def measure_target(server: Server, options: argparse.Namespace) -> tuple[Rounds, float]:
    """Alternates both variants, so that both of them meet the load of the machine's other users."""
    rounds: Rounds = {callers: {variant: [] for variant in VARIANTS} for callers in CALLERS}
    for variant in VARIANTS:  # warms up
        await server.measure(variant, max(CALLERS), options.calls)
    idle = await server.idle_cpu_share(SETTLE_S)
    for number in range(options.rounds):
        for callers in CALLERS:
            order = VARIANTS if number % 2 else VARIANTS[::-1]
            for variant in order:
                rounds[callers][variant].append(await server.measure(variant, callers, options.calls))
    return rounds, idle


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 1),
        "minimum": round(min(values), 1),
        "maximum": round(max(values), 1),
    }


def summary(rounds: Rounds, idle: float) -> dict[str, Any]:
    """Sums a target up; what the chain costs is judged pair by pair."""
    return {
        "idle_cpu_share": round(idle, 3),
        "callers": {
            str(callers): {
                **{
                    variant: {
                        name: spread([getattr(item, name) for item in items])
                        for name in ("p50_us", "p99_us", "cpu_us")
                    }
                    for variant, items in variants.items()
                },
                "chain_cpu_us": spread(added(variants)),
                "chain_cpu_floor_us": round(floor(variants["chain"]) - floor(variants["bare"]), 1),
            }
            for callers, variants in rounds.items()
        },
    }


def added(variants: dict[str, list[Round]]) -> list[float]:
    return [ours.cpu_us - bare.cpu_us for ours, bare in zip(variants["chain"], variants["bare"], strict=True)]


def floor(rounds: list[Round]) -> float:
    """Returns the CPU of the least disturbed round."""
    return min(item.cpu_us for item in rounds)


async def measure(options: argparse.Namespace, data: DataDirectory) -> dict[str, Any]:
    settings = stage.environment(options.trace_ratio)
    targets = await stage.fill(data, settings)
    key = load_or_create_token_key(data.token_key_file)
    issuer = TokenIssuer(key, "services/bench", [Role.SERVICE])
    results: dict[str, Any] = {}
    every: list[float] = []
    with stage.broker(data) as kafka:
        for target in targets:
            async with stage.running(target.slug, data, kafka, settings) as ports:
                server = Server(target, ports, issuer.token(target.slug), options.trace_ratio)
                async with aclosing(server):
                    rounds, idle = await measure_target(server, options)
            results[target.title] = summary(rounds, idle)
            every += [value for variants in rounds.values() for value in added(variants)]
    return {
        "trace_ratio": options.trace_ratio,
        "rounds": options.rounds,
        "calls_per_round": options.calls,
        "targets": results,
        "skipped": stage.missing(),
        "chain_cpu_us": spread(every),
        "chain_cpu_floor_us": statistics.median(
            row["chain_cpu_floor_us"] for target in results.values() for row in target["callers"].values()
        ),
    }


COLUMNS = (("p50 ms", 15), ("p99 ms", 15), ("server CPU µs", 15), ("chain adds µs", 21), ("floor", 5))
HEADER = f"{'call':<14}{'callers':>8}" + "".join(f"  {title:>{width}}" for title, width in COLUMNS)


def bound_us() -> int:
    ranges = tomllib.loads(Path(__file__).with_name("ranges.toml").read_text())
    return int(ranges["bound"]["chain_cpu_us"])


def table(result: dict[str, Any]) -> str:
    lines = [f"sampling {result['trace_ratio']:.0%}; each pair is bare / with our chain", HEADER]
    for title, target in result["targets"].items():
        for callers, row in target["callers"].items():
            bare, chain, cost = row["bare"], row["chain"], row["chain_cpu_us"]
            p50, p99 = (
                f"{bare[name]['median'] / 1e3:.2f} / {chain[name]['median'] / 1e3:.2f}"
                for name in ("p50_us", "p99_us")
            )
            cpu = f"{bare['cpu_us']['median']:.0f} / {chain['cpu_us']['median']:.0f}"
            costs = f"{cost['median']:.0f} ({cost['minimum']:.0f} to {cost['maximum']:.0f})"
            lines.append(
                f"{title:<14}{callers:>8}  {p50:>15}  {p99:>15}  {cpu:>15}  {costs:>21}"
                f"  {row['chain_cpu_floor_us']:>5.0f}"
            )
    lines += [f"{title:<14} skipped: {reason}" for title, reason in result["skipped"].items()]
    median_us, floor_us = result["chain_cpu_us"]["median"], result["chain_cpu_floor_us"]
    lines.append(
        f"the chain costs {median_us:.0f} µs of server CPU per call by the median of all pairs, "
        f"{floor_us:.0f} µs by the least disturbed rounds; the bound is {bound_us()} µs"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=640, help="calls of each variant in each round")
    parser.add_argument("--trace-ratio", type=float, default=0.01)
    parser.add_argument("--output", type=Path, help="also write everything as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mltrainer-calls-") as directory:
        result = asyncio.run(measure(options, DataDirectory(Path(directory))))
    print(table(result))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    return int(result["chain_cpu_us"]["median"] > bound_us())


if __name__ == "__main__":
    raise SystemExit(main())
