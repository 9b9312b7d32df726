import csv
from pathlib import Path

import pytest
from mltrainer_scheduling.figures import summarize
from mltrainer_scheduling.policies import ORACLES, policy
from mltrainer_scheduling.simulation import TraceJob, cluster, replay

DATA = Path(__file__).resolve().parents[3] / "benchmarks" / "data" / "philly_nov_1of5.csv"


def _figures(name: str) -> dict[str, float]:
    with DATA.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:600]
    jobs = [
        TraceJob(row["job_id"], float(row["submit_s"]), int(row["gpus"]), float(row["duration_s"]), row["vc"])
        for row in rows
    ]
    return summarize(replay(jobs, cluster(64, 8), policy(name), knows_durations=name in ORACLES))


@pytest.mark.parametrize(
    ("name", "mean_jct_s", "p99_jct_s", "utilization"),
    [
        pytest.param("fifo", 55_608.6233, 321_368.75, 0.688841, id="fifo"),
        pytest.param("backfill", 20_793.8533, 312_766.54, 0.787928, id="backfill"),
    ],
)
def test_a_replay_gives_the_figures_of_an_independent_simulator(
    name: str, mean_jct_s: float, p99_jct_s: float, utilization: float
) -> None:
    figures = _figures(name)

    assert figures["mean_jct_s"] == pytest.approx(mean_jct_s, abs=1e-3)
    assert figures["p99_jct_s"] == pytest.approx(p99_jct_s, abs=1e-3)
    assert figures["makespan_s"] == pytest.approx(1_274_214.0)
    assert figures["utilization_under_backlog"] == pytest.approx(utilization, abs=1e-6)


def test_the_default_policy_comes_close_to_one_that_knows_durations() -> None:
    ours, oracle = _figures("default"), _figures("srtf")

    assert ours["mean_jct_s"] <= 1.02 * oracle["mean_jct_s"]
    assert ours["preemptions_per_job"] <= 0.5
