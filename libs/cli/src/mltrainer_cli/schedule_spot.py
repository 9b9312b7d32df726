"""`mltrainer schedule simulate-spot`: what spot saves under deadlines, how far from the optimum."""

from math import ceil, inf, isfinite
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.console import print_json, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import Output, OutputOption
from mltrainer_cli.trace_files import Column, read_table

if TYPE_CHECKING:
    from mltrainer_scheduling.jobs import Flags
    from mltrainer_scheduling.spot_plan import SpotTerms
    from mltrainer_scheduling.spot_trials import SpotTrial

ALL = "all"
_HOUR_S = 3_600.0
_COLUMNS = ("policy", "deadline_slack", "saving", "above_offline", "deadline_misses", "dearest_zone", "jobs")
_FILE_COLUMNS = (Column("zone", number=False), Column("start_tick"), Column("ticks"), Column("available"))


def simulate_spot(
    availability: Annotated[
        Path, typer.Option(help="CSV of runs: zone, start_tick, ticks, available (0 or 1).")
    ],
    output: OutputOption = Output.TABLE,
    *,
    deadline_slack: Annotated[
        list[float] | None, typer.Option(help="Time until the deadline over work; repeat for several.")
    ] = None,
    changeover_s: Annotated[float, typer.Option(min=0.0, help="Seconds each start costs.")] = 390.0,
    work_h: Annotated[float, typer.Option(min=0.01, help="Hours of work of each job.")] = 48.0,
    policy: Annotated[
        str, typer.Option(help="default, on-demand, spot-only, greedy, uniform-progress, or all.")
    ] = "default",
    zones: Annotated[str, typer.Option(help="Only these zones, separated by commas.")] = "",
    egress_usd: Annotated[
        float | None, typer.Option(min=0.0, help="Jobs may move between zones, and each move costs this.")
    ] = None,
    od_price: Annotated[float, typer.Option(help="On-demand, USD per hour.")] = 3.06,
    spot_price: Annotated[float, typer.Option(help="Spot, USD per hour.")] = 0.9731,
    tick_s: Annotated[float, typer.Option(min=1.0, help="Seconds of a tick of the file.")] = 195.0,
    jobs: Annotated[int, typer.Option(min=1, help="Jobs for each deadline, spread over the zones.")] = 360,
    seed: Annotated[int, typer.Option(min=0, help="Of the starts of the jobs.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of saving over slack.")] = None,
) -> None:
    """Run equal jobs over recorded availability and compare them with on-demand and with the offline optimum.

    With --egress-usd a job may run in any of the zones; there the optimum is not known.
    """
    series = select_zones(read_availability(availability), zones)
    terms = spot_terms(work_h, changeover_s, tick_s, od_price, spot_price)
    slacks = deadline_slack or [1.08, 1.25, 1.5, 2.0]
    if not all(map(isfinite, slacks)) or not isfinite(egress_usd or 0.0):
        raise CliError("--deadline-slack and --egress-usd must be numbers.", ExitCode.USAGE)
    if egress_usd is None:
        trials = _zone_by_zone(series, terms, slacks, policy, jobs=jobs, seed=seed)
    else:
        trials = _across(
            series,
            terms,
            slacks,
            policy,
            jobs=jobs,
            seed=seed,
            egress_ticks=egress_usd / od_price * _HOUR_S / tick_s,
        )
    if plot is not None:
        _draw(trials, plot)
    results = [spot_figures(name, trials) for name in dict.fromkeys(trial.policy.value for trial in trials)]
    if output is Output.JSON:
        print_json(results if policy == ALL else results[0])
        return
    rows = [_shown({"policy": result["policy"], **cell}) for result in results for cell in result["cells"]]
    rows += [_shown({**result, "deadline_slack": "mean"}) for result in results]
    print_rows(rows, _COLUMNS, output, title=f"{work_h:g} h of work, {len(series)} zones")


def spot_figures(policy: str, trials: "list[SpotTrial]") -> dict[str, Any]:
    """Returns one policy's cells and their means."""
    own = [trial for trial in trials if trial.policy == policy]
    return {
        "policy": policy,
        "saving": fmean(trial.saving for trial in own),
        "above_offline": _mean([above for trial in own if (above := _above(trial)) is not None]),
        "deadline_misses": sum(int(trial.missed.sum()) for trial in own),
        "dearest_zone": max(trial.dearest_zone for trial in own),
        "jobs": sum(len(trial.cost) for trial in own),
        "cells": [
            {
                "deadline_slack": trial.deadline_slack,
                "saving": trial.saving,
                "above_offline": _above(trial),
                "deadline_misses": int(trial.missed.sum()),
                "dearest_zone": trial.dearest_zone,
                "jobs": len(trial.cost),
            }
            for trial in own
        ],
    }


def _above(trial: "SpotTrial") -> float | None:
    known = (trial.zone >= 0).all() and not trial.missed.any()
    return trial.above_offline if known else None


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def spot_terms(
    work_h: float, changeover_s: float, tick_s: float, od_price: float, spot_price: float
) -> "SpotTerms":
    """Turns hours and prices into ticks and a ratio."""
    from mltrainer_scheduling.spot_plan import SpotTerms

    if not 0 < spot_price < od_price < inf:
        fault = "Prices must be numbers above zero, and spot below on-demand: --od-price and --spot-price."
        raise CliError(fault, ExitCode.USAGE)
    if not isfinite(work_h) or not isfinite(changeover_s):
        raise CliError("Durations must be numbers: --work-h and --changeover-s.", ExitCode.USAGE)
    work, changeover = round(work_h * _HOUR_S / tick_s), ceil(changeover_s / tick_s - 1e-9)
    return SpotTerms(max(1, work), changeover, spot_price / od_price)


def read_availability(path: Path) -> "dict[str, Flags]":
    """Reads runs of availability by zone; they must follow each other without gap or overlap."""
    import numpy as np

    table = read_table(path, _FILE_COLUMNS)
    zones: dict[str, list[np.ndarray]] = {}
    ends: dict[str, int] = {}
    numbers = (table.numbers[name] for name in ("start_tick", "ticks", "available"))
    for zone, start, ticks, available in zip(table.texts["zone"], *numbers, strict=True):
        if int(start) != ends.get(zone, 0) or available not in {0.0, 1.0}:
            fault = f"{path}: the run of zone {zone!r} at tick {start:g} leaves a gap or is neither 0 nor 1."
            raise CliError(fault, ExitCode.USAGE)
        zones.setdefault(zone, []).append(np.full(int(ticks), bool(available)))
        ends[zone] = int(start) + int(ticks)
    return {zone: np.concatenate(runs) for zone, runs in zones.items()}


def select_zones(series: "dict[str, Flags]", names: str) -> "dict[str, Flags]":
    """Keeps the named zones, or all."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in series]
    if unknown:
        fault = f"No zone is called {unknown[0]!r}; there are {', '.join(series)}."
        raise CliError(fault, ExitCode.USAGE)
    return {name: series[name] for name in wanted} if wanted else series


def _zone_by_zone(
    series: "dict[str, Flags]", terms: "SpotTerms", slacks: list[float], policy: str, *, jobs: int, seed: int
) -> "list[SpotTrial]":
    from mltrainer_scheduling.spot import SpotPolicy
    from mltrainer_scheduling.spot_trials import try_zone_by_zone

    known = [one.value for one in SpotPolicy]
    if policy not in {*known, ALL}:
        raise CliError(
            f"No policy is called {policy!r}; there are {', '.join(known)} and {ALL}.", ExitCode.USAGE
        )
    policies = list(SpotPolicy) if policy == ALL else [SpotPolicy(policy)]
    each = ceil(jobs / len(series))
    try:
        return try_zone_by_zone(series, terms, slacks, policies, jobs_per_zone=each, seed=seed)
    except ValueError as error:
        raise CliError(f"These jobs cannot be tried: {error}.", ExitCode.USAGE) from None


def _across(
    series: "dict[str, Flags]",
    terms: "SpotTerms",
    slacks: list[float],
    policy: str,
    *,
    jobs: int,
    seed: int,
    egress_ticks: float,
) -> "list[SpotTrial]":
    from mltrainer_scheduling.spot_trials import try_across_zones

    if policy != "default":
        raise CliError("Only the default policy moves between zones.", ExitCode.USAGE)
    try:
        return try_across_zones(series, terms, slacks, egress_ticks=egress_ticks, jobs=jobs, seed=seed)
    except ValueError as error:
        raise CliError(f"These jobs cannot be tried: {error}.", ExitCode.USAGE) from None


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    above = row["above_offline"]
    return {
        **row,
        "saving": f"{row['saving']:.1%}",
        "above_offline": None if above is None else f"{above:.1%}",
        "dearest_zone": f"{row['dearest_zone']:.2f}",
    }


def _draw(trials: "list[SpotTrial]", path: Path) -> None:
    from mltrainer_cli.line_plots import Line, draw_lines

    lines = []
    for policy in dict.fromkeys(trial.policy for trial in trials):
        own = [trial for trial in trials if trial.policy is policy]
        lines.append(Line(policy.value, [t.deadline_slack for t in own], [t.saving for t in own]))
    draw_lines(lines, path, across="deadline over work", up="saved against on-demand")
