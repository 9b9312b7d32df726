"""Replays workloads through the policies and prints them side by side; README.md explains the tables."""

import argparse
import json
import multiprocessing
import sys
import time
import tomllib
from pathlib import Path

from mltrainer_scheduling.figures import summarize
from mltrainer_scheduling.policies import ORACLES, POLICY_NAMES, policy
from mltrainer_scheduling.simulation import cluster, replay
from workloads import GPUS, workloads

Seen = dict[tuple[str, str], dict[str, float]]

RANGES = Path(__file__).with_name("ranges.toml")
MONTHS = ("nov", "oct")
YARDSTICKS = ("backfill", "srtf", "gittins", "default")
COLUMNS = (
    ("JCT h", 8),
    ("p50", 7),
    ("p99", 8),
    ("wait", 8),
    ("makespan", 10),
    ("util", 7),
    ("stops", 7),
    ("most", 6),
    ("starved", 8),
    ("CPU s", 7),
)
HEADER = f"{'workload':15}{'policy':17}" + "".join(f"{label:>{width}}" for label, width in COLUMNS)


def measured(task: tuple[str, str]) -> tuple[str, str, dict[str, float]]:
    """Replays one workload through one policy."""
    workload, name = task
    given = workloads()[workload]()
    begin = time.process_time()
    result = replay(
        given.jobs,
        cluster(GPUS, given.gpus_per_node),
        policy(name),
        restore_s=60.0,
        history=given.history,
        knows_durations=name in ORACLES,
    )
    return workload, name, {**summarize(result), "cpu_s": time.process_time() - begin}


def line(workload: str, name: str, seen: dict[str, float]) -> str:
    """Formats one replay."""
    keys = ("mean_jct", "p50_jct", "p99_jct", "mean_wait", "makespan")
    hours = {key: seen[f"{key}_s"] / 3_600 for key in keys}
    return (
        f"{workload:15}{name:17}{hours['mean_jct']:8.3f}{hours['p50_jct']:7.2f}{hours['p99_jct']:8.1f}"
        f"{hours['mean_wait']:8.3f}{hours['makespan']:10.0f}{seen['utilization_under_backlog']:7.3f}"
        f"{seen['preemptions_per_job']:7.2f}{seen['max_preemptions_of_a_job']:6.0f}{seen['starved_jobs']:8.0f}"
        f"{seen['cpu_s']:7.1f}"
    )


def compare(workload: str, seen: Seen) -> None:
    """Prints how the default policy stands, where what it is compared with was replayed too."""
    if not all((workload, name) in seen for name in ("default", "srtf", "backfill")):
        return
    ours, oracle, fill = (seen[workload, name] for name in ("default", "srtf", "backfill"))
    print(
        f"{workload:15} mean {ours['mean_jct_s'] / oracle['mean_jct_s']:.3f} x SRTF, "
        f"{ours['mean_jct_s'] / fill['mean_jct_s']:.3f} x backfill;  "
        f"p99 {ours['p99_jct_s'] / fill['p99_jct_s']:.2f} x backfill"
    )


def judged(seen: Seen) -> bool:
    """Compares the default policy with the bounds of ranges.toml, and prints what is outside."""
    is_good = True
    for workload, limits in tomllib.loads(RANGES.read_text(encoding="utf-8")).items():
        figures = seen.get((workload, "default"))
        if figures is None:
            continue
        for key, (least, most) in limits.items():
            if not least <= figures[key] <= most:
                is_good = False
                print(f"{workload}: {key} is {figures[key]:.4g}, not within {least} to {most}")
    return is_good


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months-only", action="store_true", help="no validation workloads")
    parser.add_argument("--policies", default=",".join(POLICY_NAMES), help="for the two months")
    parser.add_argument("--yardsticks", default=",".join(YARDSTICKS), help="for the others")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all figures")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    tasks = [(month, name) for name in options.policies.split(",") if name for month in MONTHS]
    if not options.months_only:
        others = [one for one in workloads() if one not in MONTHS]
        tasks += [(one, name) for one in others for name in options.yardsticks.split(",")]
    seen: Seen = {}
    print(HEADER)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for workload, name, figures in pool.imap(measured, tasks):
            seen[workload, name] = figures
            print(line(workload, name, figures), flush=True)
    print("\ndefault beside SRTF (which knows durations) and beside FIFO with backfill")
    for workload in dict.fromkeys(one for one, _ in tasks):
        compare(workload, seen)
    if options.json:
        rows = [{"workload": key[0], "policy": key[1], "figures": figures} for key, figures in seen.items()]
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0 if judged(seen) else 1


if __name__ == "__main__":
    sys.exit(main())
