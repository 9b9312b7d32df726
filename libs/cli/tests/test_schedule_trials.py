"""`mltrainer schedule simulate-packing` and `simulate-spot` on small recordings, good and bad."""

import json
from pathlib import Path

import numpy as np
import pytest
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.main import run

NODES = "node,cpu_milli,memory_mib,gpus,gpu_model\n" + "n,64000,262144,4,A\n" * 4
TASKS = (
    "task,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
    + "t,4000,1024,1,500,\nt,8000,1024,1,1000,A|B\n" * 9
)


def _spot_file(path: Path) -> Path:
    random = np.random.default_rng(0)
    lines = ["zone,start_tick,ticks,available"]
    for zone in ("a", "b"):
        start = 0
        for number in range(200):
            ticks = int(random.geometric(0.05))
            lines.append(f"{zone},{start},{ticks},{number % 2}")
            start += ticks
    path.write_text("\n".join(lines) + "\n")
    return path


def _packing(tmp_path: Path, nodes: str, tasks: str, *more: str) -> int:
    (tmp_path / "nodes.csv").write_text(nodes)
    (tmp_path / "tasks.csv").write_text(tasks)
    files = ["--nodes", str(tmp_path / "nodes.csv"), "--tasks", str(tmp_path / "tasks.csv")]
    return run(["schedule", "simulate-packing", *files, *more])


def test_packing_prints_the_ratio_and_what_is_left_with_its_spread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "packing.png"

    code = _packing(tmp_path, NODES, TASKS, "--rounds", "2", "--output", "json", "--plot", str(picture))

    found = json.loads(capsys.readouterr().out)
    assert code == ExitCode.OK
    assert found["allocation_ratio"] == pytest.approx(1 - found["unallocated_gpus"] / 16)
    assert len(found["unallocated_gpus_by_round"]) == 2
    assert picture.stat().st_size > 0


def test_every_packing_policy_runs_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = _packing(tmp_path, NODES, TASKS, "--policy", "all", "--rounds", "1", "--output", "json")

    names = [one["policy"] for one in json.loads(capsys.readouterr().out)]
    assert code == ExitCode.OK
    assert {"default", "fgd", "fgd-published", "best-fit", "random"} <= set(names)


@pytest.mark.parametrize(
    ("nodes", "tasks", "said"),
    [
        pytest.param("node\nn\n", TASKS, "lacks the columns cpu_milli", id="a column is missing"),
        pytest.param(NODES, TASKS + "t,x,1,1,1000,\n", "line 20: cpu_milli is 'x'", id="no number"),
        pytest.param(NODES, TASKS + "t,1,1,2,500,\n", "cannot be", id="parts of two devices"),
        pytest.param(NODES, TASKS.splitlines()[0] + "\n", "no rows", id="empty"),
    ],
)
def test_a_wrong_packing_file_is_named_with_its_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nodes: str, tasks: str, said: str
) -> None:
    code = _packing(tmp_path, nodes, tasks)

    assert code == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_spot_prints_saving_distance_and_misses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "spot.png"
    asked = ["--availability", str(_spot_file(tmp_path / "spot.csv")), "--work-h", "2", "--jobs", "10"]
    slacks = ["--deadline-slack", "1.25", "--deadline-slack", "2"]

    code = run(["schedule", "simulate-spot", *asked, *slacks, "--output", "json", "--plot", str(picture)])

    found = json.loads(capsys.readouterr().out)
    assert code == ExitCode.OK
    assert found["deadline_misses"] == 0
    assert 0 < found["saving"] < 1 - 0.9731 / 3.06
    assert found["above_offline"] >= 0
    assert [cell["deadline_slack"] for cell in found["cells"]] == [1.25, 2.0]
    assert picture.stat().st_size > 0


def test_spot_across_zones_counts_egress_and_knows_no_optimum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--availability", str(_spot_file(tmp_path / "spot.csv")), "--work-h", "2", "--jobs", "10"]
    moves = ["--egress-usd", "0.01", "--deadline-slack", "1.5"]

    code = run(["schedule", "simulate-spot", *asked, *moves, "--output", "json"])

    found = json.loads(capsys.readouterr().out)
    assert (code, found["deadline_misses"], found["above_offline"]) == (ExitCode.OK, 0, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--spot-price", "0"], "numbers above zero", id="spot for nothing"),
        pytest.param(["--spot-price", "nan"], "numbers above zero", id="spot is no number"),
        pytest.param(["--spot-price=-1"], "numbers above zero", id="spot below zero"),
        pytest.param(["--od-price", "nan"], "numbers above zero", id="on-demand is no number"),
        pytest.param(["--od-price", "inf"], "numbers above zero", id="on-demand without end"),
        pytest.param(["--work-h", "inf"], "Durations must be numbers", id="work without end"),
        pytest.param(["--egress-usd", "nan"], "'--egress-usd'", id="egress is no number"),
        pytest.param(["--zones", "c"], "No zone is called 'c'", id="unknown zone"),
        pytest.param(["--policy", "x"], "No policy is called 'x'", id="unknown policy"),
        pytest.param(["--deadline-slack", "1.0"], "the deadline leaves", id="longer than its deadline"),
        pytest.param(["--work-h", "1000"], "the series has", id="series too short"),
    ],
)
def test_what_cannot_be_tried_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    asked = ["--availability", str(_spot_file(tmp_path / "spot.csv")), "--work-h", "2"]

    code = run(["schedule", "simulate-spot", *asked, *options])

    assert code == ExitCode.USAGE
    assert said in capsys.readouterr().err
