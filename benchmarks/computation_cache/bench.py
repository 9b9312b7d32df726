"""Measures what is known of computations: equal ones found, others told apart, and each done once.

    python benchmarks/computation_cache/bench.py --output result.json

See README.md beside this file for what each row means.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import crowd
import live
import mutations
from mltrainer_trainer.adapters.code_closure import closure
from mltrainer_trainer.adapters.code_identity import SOURCES

_PARTS = ("mutations", "crowd", "live")


def measure_mutations(cases: int, seed: int) -> dict[str, Any]:
    """Changes and respells inputs; half of the cases are requests, the others code and rows."""
    draw = random.Random(seed)
    counts = [
        *mutations.count_requests(cases // 2, draw),
        *mutations.count_sources(closure(SOURCES), cases // 4, draw),
        *mutations.count_contents(cases - cases // 2 - cases // 4, draw),
    ]
    return {"seed": seed, "rows": [asdict(count) for count in counts]}


async def measure_crowd(folder: Path, requests: int, processes: int, url: str) -> dict[str, Any]:
    """Sends equal requests from several processes at once, with and without a leader that is killed."""
    whole = await crowd.run_crowd(folder / "whole", requests, processes, kill=False, url=url)
    killed = await crowd.run_crowd(folder / "killed", requests, processes, kill=True)
    return {"rows": [asdict(whole), asdict(killed)]}


async def measure_live(folder: Path, rounds: int) -> dict[str, Any]:
    """Asks a live scheduler for what it knows."""
    known = await live.measure_cached(folder, rounds)
    times_ms = sorted(it.total for it in known.requests)
    return {
        "rounds": rounds,
        "p50_ms": statistics.median(times_ms),
        "p99_ms": times_ms[min(int(0.99 * rounds), rounds - 1)],
        "slowest_ms": times_ms[-1],
        "published_ms": statistics.median(it.published for it in known.requests),
        "answered_ms": statistics.median(it.answered for it in known.requests),
        "scheduler_cpu_ms": known.cpu_ms,
    }


def report(result: dict[str, Any]) -> None:
    """Prints what was measured."""
    print(f"load {result['load_average']:.1f}")
    for row in result.get("mutations", {}).get("rows", []):
        wrong = "false hits" if "changed" in row["kind"] else "false misses"
        print(f"{row['kind']:40} {row['cases']:6} cases {row['wrong']:4} {wrong}")
    for row in result.get("crowd", {}).get("rows", []):
        what = f"{row['requests']} equal requests, {row['processes']} processes"
        what += ", leader killed" if row["killed"] else ""
        ends = f"{row['completed']} completed, {row['deduplicated']} deduplicated"
        print(f"{what:52} {row['executions']} executions ({ends}) in {row['seconds']:.1f} s")
    if known := result.get("live"):
        times = ", ".join(f"{name} {known[f'{name}_ms']:.1f} ms" for name in ("p50", "p99", "slowest"))
        print(f"cached training again, request to event: {times} ({known['rounds']} times)")
        parts = f"with the broker after {known['published_ms']:.1f} ms"
        parts += f", answered after {known['answered_ms']:.1f} ms (medians)"
        print(f"  {parts}; {known['scheduler_cpu_ms']:.1f} ms of the scheduler's CPU time each")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--database", default="", help="a PostgreSQL URL for the first crowd")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        if "mutations" in arguments.parts:
            result["mutations"] = measure_mutations(arguments.cases, arguments.seed)
        if "crowd" in arguments.parts:
            sizes = (arguments.requests, arguments.processes, arguments.database)
            result["crowd"] = asyncio.run(measure_crowd(folder, *sizes))
        if "live" in arguments.parts:
            result["live"] = asyncio.run(measure_live(folder / "live", arguments.rounds))
    report(result)
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
