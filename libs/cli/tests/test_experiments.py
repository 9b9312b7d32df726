"""`mltrainer experiments` against a real experiment service that runs alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mltrainer.experiment.v1.resources_pb2 import ExperimentResult
from mltrainer_cli.commands.experiments import result_to_json
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.main import run

READY_TIMEOUT_S = 60.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Starts the service without Kafka and peers; it must end well at SIGTERM."""
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(tmp_path),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    with (tmp_path / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mltrainer_experiment"], env=environment, stdout=log, stderr=log
        )
        try:
            until_s = time.monotonic() + READY_TIMEOUT_S
            while not (tmp_path / "endpoints.json").exists():
                assert process.poll() is None, (tmp_path / "service.log").read_text()
                assert time.monotonic() < until_s
                time.sleep(0.05)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest.mark.integration
def test_an_experiment_is_created_started_shown_and_stopped(
    service: subprocess.Popen[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(command: str, *arguments: str) -> Any:
        where = ["--data-directory", str(tmp_path), "--output", "json"]
        assert run(["experiments", command, *arguments, *where]) == ExitCode.OK
        return json.loads(capsys.readouterr().out)

    created = ask("create", "blue", "--model", "vol5", "--share", "0.25", "--max-loss", "0.5")
    started = ask("start", "blue")
    listed = ask("list")
    shown = ask("show", "blue")
    result = ask("result", "blue")
    stopped = ask("stop", "experiments/blue")

    assert [one["state"] for one in (created, started, stopped)] == ["DRAFT", "ACTIVE", "STOPPED"]
    assert [arm["weight"] for arm in created["variants"]] == [0.75, 0.25]
    assert listed == [shown] == [started]
    assert (result["conclusion"], result["effect_lower"]) == ("NOT_ENOUGH_DATA", None)
    assert [arm["exposed_units"] for arm in result["variants"]] == [0, 0]


@pytest.mark.integration
def test_tables_are_for_people_and_refusals_are_one_sentence(
    service: subprocess.Popen[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data-directory", str(tmp_path)]

    codes = [
        run(["experiments", "create", "blue", "--model", "vol5", "--start", *where]),
        run(["experiments", "result", "blue", *where]),
        run(["experiments", "list", *where]),
        run(["experiments", "show", "none", *where]),
        run(["experiments", "start", "blue", *where]),
    ]

    captured = capsys.readouterr()
    assert codes == [ExitCode.OK, ExitCode.OK, ExitCode.OK, ExitCode.NOT_FOUND, ExitCode.REJECTED]
    assert "0 of the 20 closed days" in captured.out
    assert "experiments/none does not exist [EXPERIMENT_NOT_FOUND]" in captured.err
    assert captured.err.count("\n") == 2


def test_a_result_keeps_its_numbers_as_numbers() -> None:
    result = ExperimentResult(effect=0.5, effect_lower=0.25, effect_upper=0.75)
    result.variants.add(variant="champion", exposed_units=7)

    found = result_to_json(result)

    assert (found["effect_lower"], found["effect_upper"]) == (0.25, 0.75)
    assert found["variants"][0]["exposed_units"] == 7
