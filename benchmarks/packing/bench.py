"""Fills the openb cluster under every policy and prints what stays unallocated.

    python benchmarks/packing/bench.py --rounds 5 --output result.json

README.md tells how to read it.
"""

import argparse
import json
import statistics
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from mixes import mixes
from mltrainer_cli.schedule_packing import read_packing_nodes, read_packing_tasks
from mltrainer_scheduling.fragmentation import FreeNodes
from mltrainer_scheduling.packing_policies import PackingPolicy
from mltrainer_scheduling.packing_simulation import Workload, simulate_packing

DATA = Path(__file__).parents[1] / "data"
RANGES = Path(__file__).with_name("ranges.toml")
TRACES = ("default", "multigpu50")
PEERS = (PackingPolicy.FIRST_FIT, PackingPolicy.BEST_FIT, PackingPolicy.FGD, PackingPolicy.FGD_PUBLISHED)
WINDOW = 256


@dataclass(frozen=True)
class Cell:
    """One policy on one workload."""

    workload: str
    policy: PackingPolicy
    look_ahead: int = 1
    boundless: bool = False
    demand: float = 1.3

    def label(self) -> str:
        ahead = f", look-ahead {self.look_ahead}" if self.look_ahead > 1 else ""
        return f"{self.policy}{ahead}{', no CPU or memory bound' if self.boundless else ''}"


@dataclass(frozen=True)
class Seen:
    """What one round left."""

    unallocated_gpus: float
    lost_wide_gpus: float
    decisions_per_s: float


def workload(name: str) -> Workload:
    traces = {trace: read_packing_tasks(DATA / f"openb_tasks_{trace}.csv") for trace in TRACES}
    return traces[name] if name in traces else mixes(traces["default"], traces["multigpu50"])[name]


def measure(task: tuple[Cell, int]) -> Seen:
    cell, seed = task
    nodes = read_packing_nodes(DATA / "openb_nodes.csv")
    if cell.boundless:
        plenty = np.full(len(nodes), 2**50)
        nodes = FreeNodes(nodes.gpu_millis, plenty, plenty, nodes.gpu_type)
    run = simulate_packing(
        nodes,
        workload(cell.workload),
        cell.policy,
        seed=seed,
        look_ahead=cell.look_ahead,
        demand_ratio=cell.demand,
    )
    return Seen(run.unallocated_gpus, run.lost_wide_gpus, run.decisions_per_s)


def openb_cells() -> list[Cell]:
    cells = [Cell(trace, policy) for trace in TRACES for policy in PackingPolicy]
    cells += [Cell(trace, PackingPolicy.DEFAULT, look_ahead=WINDOW) for trace in TRACES]
    floors = [
        Cell(trace, policy, boundless=True)
        for trace in TRACES
        for policy in (PackingPolicy.FGD, PackingPolicy.DEFAULT)
    ]
    return cells + floors


def mix_cells() -> list[Cell]:
    names = mixes(*(read_packing_tasks(DATA / f"openb_tasks_{trace}.csv") for trace in TRACES))
    return [Cell(name, policy) for name in names for policy in (*PEERS, PackingPolicy.DEFAULT)]


def print_cells(found: dict[Cell, list[Seen]]) -> None:
    print(f"{'workload':26}{'policy':42}{'unallocated':>12}{'± sd':>7}{'lost wide':>10}{'decisions/s':>12}")
    for cell, runs in found.items():
        left = [run.unallocated_gpus for run in runs]
        wide = statistics.fmean(run.lost_wide_gpus for run in runs)
        speed = statistics.median(run.decisions_per_s for run in runs)
        spread = statistics.pstdev(left)
        print(
            f"{cell.workload:26}{cell.label():42}{statistics.fmean(left):12.1f}{spread:7.1f}{wide:10.0f}{speed:12.0f}"
        )


def worse_than_bounds(found: dict[Cell, list[Seen]]) -> list[str]:
    bounds = tomllib.loads(RANGES.read_text())["bound"]
    means = {cell: statistics.fmean(run.unallocated_gpus for run in runs) for cell, runs in found.items()}
    own = {
        cell.workload: mean
        for cell, mean in means.items()
        if cell.policy is PackingPolicy.DEFAULT and cell.look_ahead == 1 and not cell.boundless
    }
    return [
        f"{name}: {own[name]:.1f} > {bound}" for name, bound in bounds.items() if own.get(name, 0) > bound
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=("openb", "mixes"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--policy", type=PackingPolicy, action="append", help="Only these.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    cells = {"openb": openb_cells, "mixes": mix_cells}
    chosen = [cell for part, make in cells.items() if asked.part in {None, part} for cell in make()]
    chosen = [cell for cell in chosen if not asked.policy or cell.policy in asked.policy]
    tasks = [(cell, seed) for cell in chosen for seed in range(asked.rounds)]
    found: dict[Cell, list[Seen]] = {cell: [] for cell in chosen}
    with ProcessPoolExecutor(asked.processes) as pool:
        for (cell, _), seen in zip(tasks, pool.map(measure, tasks), strict=True):
            found[cell].append(seen)
    print_cells(found)
    if asked.output:
        rows = [asdict(cell) | {"rounds": [asdict(run) for run in runs]} for cell, runs in found.items()]
        asked.output.write_text(json.dumps(rows, indent=1))
    if worse := worse_than_bounds(found):
        raise SystemExit("\n".join(worse))


if __name__ == "__main__":
    main()
