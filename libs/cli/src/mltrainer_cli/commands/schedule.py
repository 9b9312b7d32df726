"""`mltrainer schedule`: policies on recorded workloads, without a running stack."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from mltrainer_scheduling.policies import ORACLES, POLICY_NAMES, policy
from mltrainer_scheduling.simulation import cluster, replay, unplaceable

from mltrainer_cli.console import print_json, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.job_traces import read_history, read_jobs, read_nodes
from mltrainer_cli.options import Output, OutputOption
from mltrainer_cli.schedule_packing import simulate_packing
from mltrainer_cli.schedule_spot import simulate_spot
from mltrainer_cli.schedule_status import register

if TYPE_CHECKING:
    from mltrainer_scheduling.nodes import Node
    from mltrainer_scheduling.simulation import Replay, TraceJob
    from mltrainer_scheduling.snapshot import History

app = typer.Typer(no_args_is_help=True)
app.command("simulate-packing")(simulate_packing)
register(app)
app.command("simulate-spot")(simulate_spot)

ALL = "all"
_HOUR_S = 3_600.0
_COUNTS = ("jobs", "max_preemptions_of_a_job", "starved_jobs")
_COLUMNS = (
    "policy",
    "mean_jct_h",
    "p50_jct_h",
    "p99_jct_h",
    "mean_wait_h",
    "makespan_h",
    "utilization_under_backlog",
    "preemptions_per_job",
    "starved_jobs",
)
_SHOWS_PROGRESS_FROM = 500


@app.callback()
def _group() -> None:
    """Keeps the name of a command necessary while there is but one."""


@app.command()
def simulate(
    jobs: Annotated[Path, typer.Option(help="CSV: job_id, submit_s, gpus, duration_s, and vc if known.")],
    output: OutputOption = Output.TABLE,
    *,
    nodes: Annotated[
        Path | None, typer.Option(help="CSV: node, gpus, gpu_model; instead of --gpus and --gpus-per-node.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="CSV like --jobs: jobs that had finished before, to learn from.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of the cluster.")] = 64,
    gpus_per_node: Annotated[int, typer.Option(min=1, help="GPUs of one node.")] = 8,
    restore_s: Annotated[
        float, typer.Option(min=0.0, help="Seconds that a start after a preemption costs.")
    ] = 60.0,
    policy_name: Annotated[
        str, typer.Option("--policy", help=f"One of {', '.join(POLICY_NAMES)}; or {ALL}.")
    ] = "default",
    plot: Annotated[Path | None, typer.Option(help="Write a picture: completion times, use, queue.")] = None,
) -> None:
    """Replay recorded jobs through a policy, or through all policies side by side.

    A job is a gang: up to one node's GPUs on one node, wider ones on whole nodes and one part of a node. Only
    easy-backfill, sjf, srtf and srsf know how long jobs take; the others may learn from jobs that finished.
    """
    names = POLICY_NAMES if policy_name == ALL else (policy_name,)
    if not set(names) <= set(POLICY_NAMES):
        fault = f"No policy is called {policy_name!r}; there are {', '.join(POLICY_NAMES)} and {ALL}."
        raise CliError(fault, ExitCode.USAGE)
    trace = read_jobs(jobs)
    past = None if history is None else read_history(history)
    where = cluster(gpus, gpus_per_node) if nodes is None else read_nodes(nodes)
    _check_widths(trace, where)
    replays = {name: _replayed(name, trace, where, restore_s, past) for name in names}
    if plot is not None:
        from mltrainer_cli.schedule_plots import draw_replays

        draw_replays(replays, plot)
    rows = [_figures(name, one) for name, one in replays.items()]
    if output is Output.JSON:
        print_json(rows if policy_name == ALL else rows[0])
        return
    print_rows([_in_hours(row) for row in rows], _COLUMNS, output, title=f"{len(trace)} jobs")


def _check_widths(trace: "Sequence[TraceJob]", nodes: "Sequence[Node]") -> None:
    wide = unplaceable(trace, nodes)
    if wide:
        total = sum(node.gpus for node in nodes)
        fault = (
            f"{len(wide)} jobs can never start on {len(nodes)} nodes with {total} GPUs: "
            f"job {wide[0].job_id!r} needs {wide[0].gpus}. Give more GPUs, or leave them out of the trace."
        )
        raise CliError(fault, ExitCode.USAGE)


def _replayed(
    name: str,
    trace: "Sequence[TraceJob]",
    nodes: "Sequence[Node]",
    restore_s: float,
    past: "History | None",
) -> "Replay":
    with _progress(name, len(trace)) as advance:
        return replay(
            trace,
            nodes,
            policy(name),
            restore_s=restore_s,
            history=past,
            knows_durations=name in ORACLES,
            progress=advance,
        )


@contextmanager
def _progress(name: str, jobs: int) -> Iterator[Callable[[int], None] | None]:
    """Shows on a terminal how many jobs have finished."""
    if jobs < _SHOWS_PROGRESS_FROM or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=jobs)
        yield lambda finished: bar.update(task, completed=finished)


def _figures(name: str, one: "Replay") -> dict[str, Any]:
    from mltrainer_scheduling.figures import summarize

    figures: dict[str, Any] = {"policy": name, "knows_durations": name in ORACLES, **summarize(one)}
    return {key: int(value) if key in _COUNTS else value for key, value in figures.items()}


def _in_hours(figures: dict[str, Any]) -> dict[str, Any]:
    hours = {
        key.removesuffix("_s") + "_h": f"{value / _HOUR_S:.2f}"
        for key, value in figures.items()
        if key.endswith("_s")
    }
    ratios = ("utilization_under_backlog", "preemptions_per_job")
    return {**figures, **hours, **{key: f"{figures[key]:.3f}" for key in ratios}}
