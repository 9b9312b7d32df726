import json
from pathlib import Path

import pytest
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.main import run
from mltrainer_scheduling.policies import POLICY_NAMES

HEADER = "job_id,submit_s,gpus,duration_s,vc\n"


def _trace(directory: Path, *rows: str, header: str = HEADER) -> str:
    path = directory / "jobs.csv"
    path.write_text(header + "".join(row + "\n" for row in rows))
    return str(path)


def test_a_replay_prints_the_promised_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = _trace(tmp_path, "a,0,2,100,vc1", "b,10,2,50,vc1")

    code = run(
        [
            "schedule",
            "simulate",
            "--jobs",
            jobs,
            "--gpus",
            "2",
            "--gpus-per-node",
            "2",
            "--policy",
            "fifo",
            "--restore-s",
            "60",
            "--history",
            jobs,
            "--output",
            "json",
        ]
    )

    figures = json.loads(capsys.readouterr().out)
    assert code == ExitCode.OK
    assert figures["policy"] == "fifo"
    assert figures["mean_jct_s"] == pytest.approx((100 + 140) / 2)
    assert figures["mean_wait_s"] == pytest.approx(45)
    assert figures["makespan_s"] == pytest.approx(150)
    assert figures["utilization_under_backlog"] == pytest.approx(1.0)
    assert figures["preemptions_per_job"] == 0
    assert {"p50_jct_s", "p99_jct_s", "allocation_ratio", "unallocated_gpus"} <= set(figures)


def test_all_policies_run_side_by_side_on_given_nodes_and_leave_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = _trace(tmp_path, "a,0,2,100,vc1", "b,10,1,50,vc2", "c,20,3,70,vc1")
    nodes = tmp_path / "nodes.csv"
    nodes.write_text("node,gpus,gpu_model\nn0,2,A100\nn1,1,H100\n")
    picture = tmp_path / "replay.png"

    code = run(
        [
            "schedule",
            "simulate",
            "--jobs",
            jobs,
            "--nodes",
            str(nodes),
            "--policy",
            "all",
            "--output",
            "json",
            "--plot",
            str(picture),
        ]
    )

    assert code == ExitCode.OK
    assert [one["policy"] for one in json.loads(capsys.readouterr().out)] == list(POLICY_NAMES)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(("a,0,1,-5,v",), "row 2, column duration_s: '-5' must be finite", id="negative"),
        pytest.param(("a,0,1,0,v",), "row 2, column duration_s: '0' must be finite and greater", id="zero"),
        pytest.param(("a,0,1,5,v", "a,1,1,5,v"), "row 3, column job_id: 'a' is the id of row 2", id="twice"),
        pytest.param(("a,x,1,5,v",), "row 2, column submit_s: 'x' is no number", id="no number"),
        pytest.param(("a,0,nan,5,v",), "row 2, column gpus: 'nan' must be finite", id="nan"),
        pytest.param(("a,0,1.5,5,v",), "row 2, column gpus: '1.5' must be a whole", id="part of a GPU"),
        pytest.param(("a,0,1",), "row 2: 3 cells, but the header names 5", id="short row"),
        pytest.param(("a,0,99,5,v",), "job 'a' needs 99", id="too wide"),
        pytest.param((), "holds no jobs", id="empty"),
    ],
)
def test_a_bad_trace_is_refused_with_row_and_column(
    rows: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["schedule", "simulate", "--jobs", _trace(tmp_path, *rows)])

    assert code == ExitCode.USAGE
    assert message in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_read_and_what_does_not_exist_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = _trace(tmp_path, "a,0,1", header="job_id,submit_s,gpus\n")

    assert run(["schedule", "simulate", "--jobs", jobs]) == ExitCode.USAGE
    assert "lacks the column duration_s" in capsys.readouterr().err
    assert run(["schedule", "simulate", "--jobs", str(tmp_path / "none.csv")]) == ExitCode.PRECONDITION
    assert run(["schedule", "simulate", "--jobs", jobs, "--policy", "magic"]) == ExitCode.USAGE
    assert "magic" in capsys.readouterr().err
