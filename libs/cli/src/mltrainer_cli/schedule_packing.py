"""`mltrainer schedule simulate-packing`: how many GPUs a placement policy strands when a cluster fills up."""

from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.console import print_json, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import Output, OutputOption
from mltrainer_cli.trace_files import Column, read_table

if TYPE_CHECKING:
    from mltrainer_scheduling.fragmentation import FreeNodes
    from mltrainer_scheduling.packing_simulation import PackingResult, Workload

_MIB = 2**20
ALL = "all"
_COLUMNS = (
    "policy",
    "rounds",
    "allocation_ratio",
    "unallocated_gpus",
    "unallocated_gpus_spread",
    "lost_wide_gpus",
    "decisions_per_s",
)
_NODE_COLUMNS = (
    Column("cpu_milli"),
    Column("memory_mib"),
    Column("gpus"),
    Column("gpu_model", number=False, required=False),
)
_TASK_COLUMNS = (
    Column("cpu_milli"),
    Column("memory_mib"),
    Column("num_gpu"),
    Column("gpu_milli"),
    Column("gpu_spec", number=False, required=False),
)


def simulate_packing(
    nodes: Annotated[Path, typer.Option(help="CSV: cpu_milli, memory_mib, gpus, and gpu_model if known.")],
    tasks: Annotated[
        Path,
        typer.Option(help="CSV: cpu_milli, memory_mib, num_gpu, gpu_milli; gpu_spec like A|B if limited."),
    ],
    output: OutputOption = Output.TABLE,
    *,
    policy: Annotated[
        str,
        typer.Option(help="default, random, first-fit, best-fit, dot-product, gpu-packing, fgd …, or all."),
    ] = "default",
    look_ahead: Annotated[int, typer.Option(min=1, help="Pending tasks the policy may choose from.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Shuffles; the result is their mean.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the first round.")] = 0,
    demand: Annotated[
        float, typer.Option(min=0.01, help="Arrivals ask for so many times the cluster's GPUs.")
    ] = 1.3,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture of GPUs allocated over GPUs asked for.")
    ] = None,
) -> None:
    """Fill a cluster with shuffled tasks, none departing, and count the GPUs that nobody can use.

    The method of the FGD paper: a task that fits nowhere is dropped, one that fits is placed. fgd is the
    paper's policy with exact scores, fgd-published the one with the integer scores of its artefact.
    """
    from mltrainer_scheduling.packing_policies import PackingPolicy
    from mltrainer_scheduling.packing_simulation import simulate_packing as simulate

    known = [one.value for one in PackingPolicy]
    if policy not in {*known, ALL}:
        fault = f"No policy is called {policy!r}; there are {', '.join(known)} and {ALL}."
        raise CliError(fault, ExitCode.USAGE)
    capacity, workload = read_packing_nodes(nodes), read_packing_tasks(tasks)
    results = {
        name: [
            simulate(
                capacity,
                workload,
                PackingPolicy(name),
                seed=seed + number,
                look_ahead=look_ahead,
                demand_ratio=demand,
            )
            for number in range(rounds)
        ]
        for name in (known if policy == ALL else [policy])
    }
    if plot is not None:
        _draw(results, plot)
    rows = [packing_figures(name, runs) for name, runs in results.items()]
    if output is Output.JSON:
        print_json(rows if policy == ALL else rows[0])
        return
    print_rows([_rounded(row) for row in rows], _COLUMNS, output, title=f"{len(workload.tasks)} tasks")


def packing_figures(policy: str, runs: "list[PackingResult]") -> dict[str, Any]:
    """Returns means over the rounds, and the spread and values of what was left."""
    left = [run.unallocated_gpus for run in runs]
    return {
        "policy": policy,
        "rounds": len(runs),
        "allocation_ratio": fmean(run.allocation_ratio for run in runs),
        "unallocated_gpus": fmean(left),
        "unallocated_gpus_spread": pstdev(left),
        "unallocated_gpus_by_round": left,
        "lost_wide_gpus": fmean(run.lost_wide_gpus for run in runs),
        "placed": fmean(run.placed for run in runs),
        "dropped": fmean(run.dropped for run in runs),
        "decisions_per_s": fmean(run.decisions_per_s for run in runs),
    }


def read_packing_nodes(path: Path) -> "FreeNodes":
    """Reads a cluster, all of it free."""
    import numpy as np
    from mltrainer_scheduling.fragmentation import FreeNodes
    from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS

    table = read_table(path, _NODE_COLUMNS)
    gpus = np.array(table.numbers["gpus"], np.int64)
    devices = np.arange(max(1, int(gpus.max())))
    return FreeNodes(
        np.where(devices < gpus[:, None], WHOLE_GPU_MILLIS, 0),
        np.array(table.numbers["cpu_milli"], np.int64),
        np.array(table.numbers["memory_mib"], np.int64) * _MIB,
        np.array(table.texts["gpu_model"], np.object_),
    )


def read_packing_tasks(path: Path) -> "Workload":
    """Reads what tasks ask for."""
    from mltrainer_scheduling.fragmentation import TaskShape
    from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS
    from mltrainer_scheduling.packing_simulation import Workload

    table = read_table(path, _TASK_COLUMNS)
    try:
        tasks = [
            TaskShape(
                int(number),
                int(part) if number else WHOLE_GPU_MILLIS,
                int(cpu),
                int(memory) * _MIB,
                frozenset(filter(None, allowed.split("|"))),
            )
            for allowed, cpu, memory, number, part in zip(
                table.texts["gpu_spec"],
                *(table.numbers[name] for name in ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli")),
                strict=True,
            )
        ]
    except ValueError as error:
        raise CliError(f"{path} has a task that cannot be: {error}.", ExitCode.USAGE) from None
    return Workload.of(tasks)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: f"{row[name]:.1f}" for name in ("unallocated_gpus", "unallocated_gpus_spread")}
    wide, speed = f"{row['lost_wide_gpus']:.0f}", f"{row['decisions_per_s']:.0f}"
    ratio = f"{row['allocation_ratio']:.2%}"
    return {**row, **shown, "lost_wide_gpus": wide, "decisions_per_s": speed, "allocation_ratio": ratio}


def _draw(results: "dict[str, list[PackingResult]]", path: Path) -> None:
    from mltrainer_cli.line_plots import Line, draw_lines

    lines = [
        Line(name, [asked for asked, _ in runs[0].curve], [asked - placed for asked, placed in runs[0].curve])
        for name, runs in results.items()
    ]
    draw_lines(lines, path, across="GPUs asked for", up="GPUs asked for and not allocated")
