"""Runs jobs with deadlines over spot availability and prints saving, distance from the optimum and misses.

    python benchmarks/spot/bench.py --availability PATH --part zones --output result.json

README.md tells what each part is and how to read the tables.
"""

import argparse
import json
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mltrainer_cli.schedule_spot import read_availability
from mltrainer_scheduling.jobs import Flags
from mltrainer_scheduling.spot import SpotPolicy
from mltrainer_scheduling.spot_plan import SpotTerms
from mltrainer_scheduling.spot_trials import SpotTrial, try_across_zones, try_zone_by_zone
from regimes import regimes

RANGES = Path(__file__).with_name("ranges.toml")
TICK_S = 195.0
WORK_TICKS = round(48 * 3600 / TICK_S)
ON_DEMAND_USD, SPOT_USD = 3.06, 0.9731
SLACKS = (1.08, 1.25, 1.5, 2.0)
PEERS = (SpotPolicy.ON_DEMAND, SpotPolicy.SPOT_ONLY, SpotPolicy.GREEDY, SpotPolicy.UNIFORM_PROGRESS)
POLICIES = (*PEERS, SpotPolicy.DEFAULT)
EGRESS_USD = (0.0, 1.0, 2.0)
PARTS = ("zones", "slow-start", "halves", "across", "made-up")


@dataclass(frozen=True)
class Row:
    """One policy over all slacks; shares are of on-demand and of the offline optimum."""

    setting: str
    policy: str
    saving_by_slack: tuple[float, ...]
    above_by_slack: tuple[float, ...]
    above_low: float
    above_high: float
    deadline_misses: int
    dearest_zone: float

    @property
    def saving(self) -> float:
        return float(np.mean(self.saving_by_slack))

    @property
    def above(self) -> float:
        return float(np.mean(self.above_by_slack))


def terms(changeover_ticks: int) -> SpotTerms:
    return SpotTerms(WORK_TICKS, changeover_ticks, SPOT_USD / ON_DEMAND_USD)


def rows(setting: str, trials: Iterable[SpotTrial]) -> list[Row]:
    by_policy: dict[str, list[SpotTrial]] = {}
    for trial in trials:
        by_policy.setdefault(trial.policy.value, []).append(trial)
    found = []
    for policy, own in by_policy.items():
        low, high = interval(own)
        found.append(
            Row(
                setting,
                policy,
                tuple(trial.saving for trial in own),
                tuple(trial.above_offline for trial in own),
                low,
                high,
                sum(int(trial.missed.sum()) for trial in own),
                max(trial.dearest_zone for trial in own),
            )
        )
    return found


def interval(trials: list[SpotTrial]) -> tuple[float, float]:
    """Nine of ten resamples of the jobs give a mean distance in between."""
    random = np.random.default_rng(0)
    size = len(trials[0].cost)
    draws = random.integers(0, size, (400, size))
    means = [t.cost[draws].mean(axis=1) / t.offline[draws].mean(axis=1) - 1.0 for t in trials]
    low, high = np.quantile(np.mean(means, axis=0), (0.05, 0.95))
    return float(low), float(high)


def halves(zones: Mapping[str, Flags]) -> dict[str, dict[str, Flags]]:
    names = list(zones)
    return {
        "first half of the time": {name: series[: len(series) // 2] for name, series in zones.items()},
        "second half of the time": {name: series[len(series) // 2 :] for name, series in zones.items()},
        "even zones": {name: zones[name] for name in names[::2]},
        "odd zones": {name: zones[name] for name in names[1::2]},
    }


def measure(part: str, zones: Mapping[str, Flags], jobs: int, seed: int) -> list[Row]:
    each = max(1, round(jobs / max(1, len(zones))))
    match part:
        case "zones" | "slow-start":
            changeover = 2 if part == "zones" else 8
            trials = try_zone_by_zone(
                zones, terms(changeover), SLACKS, POLICIES, jobs_per_zone=each, seed=seed
            )
            return rows(f"changeover {changeover} ticks", trials)
        case "halves":
            own = (SpotPolicy.UNIFORM_PROGRESS, SpotPolicy.DEFAULT)
            return [
                row
                for name, some in halves(zones).items()
                for row in rows(
                    name, try_zone_by_zone(some, terms(2), SLACKS, own, jobs_per_zone=each, seed=seed)
                )
            ]
        case "across":
            return [
                row
                for usd in EGRESS_USD
                for row in rows(
                    f"{len(zones)} zones, {usd:g} USD a move",
                    try_across_zones(
                        zones,
                        terms(2),
                        SLACKS,
                        egress_ticks=usd / ON_DEMAND_USD * 3600 / TICK_S,
                        jobs=jobs,
                        seed=seed,
                    ),
                )
            ]
        case _:
            return [
                row
                for name, some in regimes().items()
                for row in rows(
                    name, try_zone_by_zone(some, terms(2), SLACKS, POLICIES, jobs_per_zone=each, seed=seed)
                )
            ]


def print_rows(found: list[Row]) -> None:
    print(
        f"{'setting':27}{'policy':18}{'saving, % by slack':28}{'mean':>6}",
        f" {'above optimum, %':26}{'mean':>6}",
        end="",
    )
    print(f"{'90 % of resamples':>20}{'misses':>8}{'dearest zone':>14}")
    for row in found:
        saving = " ".join(f"{100 * one:5.1f}" for one in row.saving_by_slack)
        above = " ".join(f"{100 * one:5.1f}" for one in row.above_by_slack)
        spread = f"{100 * row.above_low:.1f} to {100 * row.above_high:.1f}"
        print(f"{row.setting:27}{row.policy:18}{saving:28}{100 * row.saving:6.1f}  {above:26}", end="")
        print(
            f"{100 * row.above:6.1f}{spread:>20}{row.deadline_misses:8}{row.dearest_zone:14.3f}", flush=True
        )


def beyond_bounds(part: str, found: list[Row]) -> list[str]:
    bound = tomllib.loads(RANGES.read_text())["bound"].get(part, {})
    own = [row for row in found if row.policy == SpotPolicy.DEFAULT.value]
    faults = [f"{row.setting}: {row.deadline_misses} deadlines missed" for row in own if row.deadline_misses]
    faults += [
        f"{row.setting}: above by {row.above:.3f}" for row in own if row.above > bound.get("above", np.inf)
    ]
    return faults + [
        f"{row.setting}: saved {row.saving:.3f}" for row in own if row.saving < bound.get("saving", -np.inf)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--availability", type=Path, help="needed for every part but made-up")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--jobs", type=int, default=360)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    parts = asked.part or (PARTS if asked.availability else ("made-up",))
    if asked.availability is None and set(parts) != {"made-up"}:
        parser.error("--availability is needed for all parts but made-up")
    zones = read_availability(asked.availability) if asked.availability else {"": np.zeros(0, np.bool_)}
    faults, everything = [], []
    for part in parts:
        begin_s = time.process_time()
        found = measure(part, zones, asked.jobs, asked.seed)
        cpu_s = time.process_time() - begin_s
        print(f"\n{part}: {asked.jobs} jobs a cell, slacks {SLACKS}, {cpu_s:.0f} s of CPU")
        print_rows(found)
        everything += [{"part": part} | vars(row) for row in found]
        faults += beyond_bounds(part, found)
    if asked.output:
        asked.output.write_text(json.dumps(everything, indent=1))
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
