"""Measures point-in-time joins through Feast: this repository's offline store beside Feast's duckdb store.

It prints a table, and exits with 1 where it breaks a bound of `ranges.toml`.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mltrainer_testkit.peers import peer_python
from shapes import SHAPES, Shape, write

HERE = Path(__file__).parent
FEAST = "0.67.0"
# ibis and duckdb are not among the locked dependencies of this repository.
PEER_PACKAGES = (f"feast[duckdb]=={FEAST}",)
FIVE_DAYS_S = 432_000
# Which share of the rows the peer gets, where all of them would take it many minutes.
PEER_SHARES = {"many_entities": 10, "restated": 10, "skewed": 100}


@dataclass(frozen=True)
class Task:
    """One join, as one child process does it."""

    shape: str
    store: str
    rows: int
    max_age_s: int = FIVE_DAYS_S
    memory_limit_mib: int = 0
    to_files: bool = False

    @property
    def label(self) -> str:
        age = "5 days" if self.max_age_s else "none"
        limit = f", parts of {self.memory_limit_mib} MiB" if self.memory_limit_mib else ""
        return (
            f"{self.shape}, {self.rows:,} rows, TTL {age}{limit}{', files to files' if self.to_files else ''}"
        )


def run(task: Task, folder: Path, python: Path, limit_gib: float, timeout_s: int) -> dict:
    """Runs a child; says what it cost, or how it ended."""
    command = [str(python), str(HERE / "join_once.py"), str(folder), task.store, "--rows", str(task.rows)]
    command += ["--max-age-s", str(task.max_age_s)]
    command += ["--memory-limit-mib", str(task.memory_limit_mib)] if task.memory_limit_mib else []
    command += ["--to-files"] if task.to_files else []
    command += ["--address-space-gib", str(limit_gib)] if limit_gib else []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=out, stderr=errors)
        status, usage = wait(child.pid, timeout_s)
        child.returncode = status
        out.seek(0)
        errors.seek(0)
        lines = out.read().decode().strip().splitlines()
        if status == 0 and lines:
            return json.loads(lines[-1]) | {"peak_mb": usage.ru_maxrss / 1024}
        said = errors.read().decode(errors="replace").strip().splitlines() or ["no message"]
    ending = "killed after the time limit" if status == -signal.SIGKILL else f"ended with {status}"
    cpu = usage.ru_utime + usage.ru_stime
    return {"failed": f"{ending}: {said[-1][:120]}", "peak_mb": usage.ru_maxrss / 1024, "cpu_s": cpu}


def wait(pid: int, timeout_s: int) -> tuple[int, resource.struct_rusage]:
    """Waits for a child and returns how it ended and what the kernel counted for it."""
    deadline = time.monotonic() + timeout_s
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.05)


def tasks(options: argparse.Namespace) -> list[Task]:
    """Lists what is run in each round; the peer gets fewer rows where it would need minutes."""
    whole = options.rows
    listed = [
        Task("daily", "ours", whole),
        Task("daily", "ours", whole, max_age_s=0),
        Task("daily", "ours", whole, memory_limit_mib=64),
    ]
    for shape, share in PEER_SHARES.items():
        listed += [Task(shape, "ours", whole), Task(shape, "ours", whole // share)]
    return listed


def peer_tasks(options: argparse.Namespace) -> list[Task]:
    return [Task("daily", "duckdb", options.rows)] + [
        Task(shape, "duckdb", options.rows // share) for shape, share in PEER_SHARES.items()
    ]


def measure(options: argparse.Namespace, folder: Path) -> dict[Task, list[dict]]:
    """Runs everything, both stores in turn."""
    for name, shape in SHAPES.items():
        write(shape, folder / name, options.rows)
    results: dict[Task, list[dict]] = {}

    def once(task: Task, limit_gib: float = 0.0) -> None:
        python = (
            peer_python(f"feast-duckdb-{FEAST}", PEER_PACKAGES)
            if task.store == "duckdb"
            else Path(sys.executable)
        )
        result = run(task, folder / task.shape, python, limit_gib, options.timeout_s)
        results.setdefault(task, []).append(result)
        print(f"  {task.store:7} {task.label:58} {told(result)}", flush=True)

    for number in range(options.rounds):
        print(f"round {number + 1}, load {os.getloadavg()[0]:.1f}", flush=True)
        for task in tasks(options):
            once(task)
        for task in [] if options.no_peer or number >= options.peer_rounds else peer_tasks(options):
            once(task)
    if not options.no_peer:
        once(Task("daily", "duckdb", options.rows // 100, max_age_s=0), options.peer_memory_gib)
    if options.large_rows:
        write(
            Shape("large", entities=2_000, days=options.large_rows // 2_000),
            folder / "large",
            options.large_rows // 4,
        )
        once(Task("large", "ours", options.large_rows // 4, memory_limit_mib=256, to_files=True))
        shutil.rmtree(folder / "large")
    return results


def told(result: dict) -> str:
    if "failed" in result:
        return f"{result['failed']} (peak {result['peak_mb']:.0f} MB, {result['cpu_s']:.1f} CPU-s)"
    return (
        f"{result['cpu_s']:7.2f} CPU-s {result['wall_s']:7.2f} s  peak {result['peak_mb']:6.0f} MB "
        f"(before {result['before_mb']:.0f})  values {result['values']}"
    )


def summary(results: dict[Task, list[dict]]) -> dict:
    """Compares medians, and values wherever both stores gave them."""
    done = {task: [item for item in items if "failed" not in item] for task, items in results.items()}
    median = {
        task: statistics.median(item["cpu_s"] for item in items) for task, items in done.items() if items
    }
    found: dict = {"joins": [], "ratios": {}, "different_values": []}
    for task, items in done.items():
        if not items:
            continue
        spread = sorted(item["cpu_s"] for item in items)
        peak = max(item["peak_mb"] for item in items)
        found["joins"].append([task.store, task.label, median[task], spread[0], spread[-1], peak])
        ours = Task(task.shape, "ours", task.rows, task.max_age_s)
        if task.store == "duckdb" and ours in median:
            found["ratios"][task.label] = median[task] / median[ours]
            if {item["values"] for item in items} != {item["values"] for item in done[ours]}:
                found["different_values"].append(task.label)
    return found


def broken_bounds(found: dict, rows: int) -> list[str]:
    bound = tomllib.loads((HERE / "ranges.toml").read_text())["bound"]
    broken = [f"other values than the peer: {label}" for label in found["different_values"]]
    for store, label, cpu, _, _, peak in found["joins"]:
        if store == "ours" and label.startswith("daily") and "parts" not in label and rows >= 1_000_000:
            broken += [f"{label}: {cpu:.2f} CPU-s"] if cpu > bound["cpu_s"] else []
            broken += [f"{label}: {peak:.0f} MB"] if peak > bound["peak_mb"] else []
    headline = next((ratio for label, ratio in found["ratios"].items() if label.startswith("daily")), None)
    if headline is not None and headline < bound["ratio"]:
        broken.append(f"only {headline:.1f} times cheaper than the peer")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="entity rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peer-rounds", type=int, default=2, help="rounds in which the peer runs too: minutes each"
    )
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument(
        "--peer-memory-gib", type=float, default=9.0, help="address space of its join without TTL"
    )
    parser.add_argument("--timeout-s", type=int, default=600)
    parser.add_argument(
        "--large-rows", type=int, default=20_000_000, help="history of the last join; 0 leaves it out"
    )
    parser.add_argument("--output", type=Path, help="also write everything as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mltrainer-joins-") as directory:
        results = measure(options, Path(directory))
    found = summary(results)
    print("\nmedian CPU-s (lowest to highest), highest peak")
    for store, label, cpu, low, high, peak in found["joins"]:
        print(f"{store:7} {label:58} {cpu:7.2f} ({low:.2f} to {high:.2f})  {peak:6.0f} MB")
    for label, ratio in found["ratios"].items():
        print(f"{ratio:6.1f} times cheaper than Feast's duckdb store: {label}")
    broken = broken_bounds(found, options.rows)
    print("\n".join(broken) if broken else "values equal, bounds kept")
    if options.output:
        everything = {f"{task.store} {task.label}": items for task, items in results.items()}
        options.output.write_text(json.dumps({"found": found, "runs": everything}, indent=1) + "\n")
    return int(bool(broken))


if __name__ == "__main__":
    raise SystemExit(main())
