"""Workloads for the policies: the two months, and others to see whether a policy generalises."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mltrainer_scheduling.simulation import TraceJob
from mltrainer_scheduling.snapshot import History

DATA = Path(__file__).resolve().parent.parent / "data"
GPUS = 64
DAY_S = 86_400.0
NO_HISTORY = History()


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs, what was known before, and the cluster."""

    jobs: tuple[TraceJob, ...]
    history: History = NO_HISTORY
    gpus_per_node: int = 8


def load(name: str) -> tuple[TraceJob, ...]:
    """Reads one of the bundled months."""
    with (DATA / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(
            TraceJob(
                row["job_id"], float(row["submit_s"]), int(row["gpus"]), float(row["duration_s"]), row["vc"]
            )
            for row in csv.DictReader(file)
        )


def history_of(jobs: Sequence[TraceJob]) -> History:
    """Returns finished jobs of another month, without submission times."""
    return History(
        np.array([job.duration_s for job in jobs]),
        np.array([float(job.gpus) for job in jobs]),
        tuple(job.group for job in jobs),
    )


def renumbered(jobs: Sequence[TraceJob]) -> tuple[TraceJob, ...]:
    """Sorts by submission and gives ids anew."""
    ordered = sorted(jobs, key=lambda job: job.submit_s)
    return tuple(replace(job, job_id=str(index)) for index, job in enumerate(ordered))


def at_load(jobs: Sequence[TraceJob], load_factor: float) -> tuple[TraceJob, ...]:
    """Stretches time until GPU-seconds asked for per GPU-second offered are as given."""
    work = sum(job.gpus * job.duration_s for job in jobs)
    begin, span = jobs[0].submit_s, jobs[-1].submit_s - jobs[0].submit_s
    stretch = work / (GPUS * span) / load_factor
    return tuple(replace(job, submit_s=(job.submit_s - begin) * stretch) for job in jobs)


def mixed_weeks(months: Sequence[Sequence[TraceJob]], seed: int, block_days: int = 7) -> tuple[TraceJob, ...]:
    """Draws blocks of days, with all their bursts, from several months: a month that might have been."""
    random, block_s = np.random.default_rng(seed), block_days * DAY_S
    jobs: list[TraceJob] = []
    for slot in range(28 // block_days):
        month = months[random.integers(len(months))]
        begin = random.integers(int(month[-1].submit_s // block_s)) * block_s
        jobs += [
            replace(job, submit_s=job.submit_s - begin + slot * block_s)
            for job in month
            if begin <= job.submit_s < begin + block_s
        ]
    return renumbered(jobs)


def heavy_tailed(seed: int, sigma: float, count: int = 2_500) -> tuple[TraceJob, ...]:
    """Draws log-normal durations by group and Poisson arrivals: no bursts, nothing of Philly."""
    random = np.random.default_rng(seed)
    group = random.integers(0, 5, count)
    width = random.choice([1] * 6 + [2, 2, 4, 4, 8, 8, 16, 32], count)
    wall_s = np.clip(np.exp(7.0 + 0.4 * group + sigma * random.standard_normal(count)), 60.0, 5e5)
    wall_s = np.minimum(wall_s, 3.6e6 / width)
    submit_s = np.cumsum(random.exponential(100.0, count))
    columns = zip(submit_s.tolist(), width.tolist(), wall_s.tolist(), group.tolist(), strict=True)
    jobs = [TraceJob(str(i), s, g, d, f"g{k}") for i, (s, g, d, k) in enumerate(columns)]
    return at_load(jobs, 0.9)


def workloads() -> dict[str, Callable[[], Workload]]:
    """Returns makers by name, the two months first."""
    november, october, september = (
        load("philly_nov_1of5"),
        load("philly_oct_1of7"),
        load("philly_sep_history"),
    )
    before = history_of(september)
    both = (november, october)
    late = [job for job in september if job.submit_s > 1e6]
    return {
        "nov": lambda: Workload(november, before),
        "oct": lambda: Workload(october, before),
        "weeks-1": lambda: Workload(mixed_weeks(both, 1), before),
        "weeks-2": lambda: Workload(mixed_weeks(both, 2), before),
        "weeks-3": lambda: Workload(mixed_weeks(both, 3), before),
        "days-4": lambda: Workload(mixed_weeks(both, 4, 2), before),
        "sep-late": lambda: Workload(renumbered(at_load(late, 0.92)), history_of(october)),
        "nov-no-history": lambda: Workload(november),
        "nov-16x4": lambda: Workload(november, before, 4),
        "oct-4x16": lambda: Workload(october, before, 16),
        "nov-fungible": lambda: Workload(november, before, 1),
        "nov-load-0.7": lambda: Workload(at_load(november, 0.7), before),
        "oct-load-0.8": lambda: Workload(at_load(october, 0.8), before),
        "nov-load-1.1": lambda: Workload(at_load(november, 1.1), before),
        "heavy-tailed": lambda: Workload(heavy_tailed(1, 2.0)),
        "light-tailed": lambda: Workload(heavy_tailed(2, 1.0)),
    }
