"""`mltrainer slo` against the real monitor, and the rules it prints."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mltrainer.monitor.v1.resources_pb2 import ServiceLevelObjective
from mltrainer_cli.burn_rules import burn_rules
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.main import run


@pytest.fixture(scope="module")
def data_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("monitor")
    environment = os.environ | {
        "MLTRAINER_DATA_DIRECTORY": str(directory),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    command = [sys.executable, "-m", "mltrainer_monitor"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + 60
        while not (directory / "endpoints.json").exists() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        yield directory
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def _run(capsys: pytest.CaptureFixture[str], data: Path, *arguments: str) -> tuple[int, str]:
    code = run(["slo", *arguments, "--data-directory", str(data)])
    return code, capsys.readouterr().out


@pytest.mark.integration
def test_objectives_are_listed_as_a_table_and_as_json(
    data_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = _run(capsys, data_directory, "list", "--output", "json", "--limit", "3")
    table_code, table = _run(capsys, data_directory, "list")

    objectives = json.loads(text)
    assert (code, table_code) == (ExitCode.OK, ExitCode.OK)
    assert [one["name"] for one in objectives] == [
        "slos/chaos-availability",
        "slos/chaos-latency",
        "slos/cost-optimizer-availability",
    ]
    assert (objectives[0]["objective"], objectives[0]["budget_left"]) == (0.9999, 1.0)
    assert "budget" in table


@pytest.mark.integration
def test_rules_of_all_objectives_are_yaml(data_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = _run(capsys, data_directory, "rules")

    assert code == ExitCode.OK
    assert len(yaml.safe_load(text)["groups"]) == 18


@pytest.mark.integration
@pytest.mark.parametrize("command", ["drift", "scores"])
def test_a_model_that_nobody_knows_is_not_found(
    data_directory: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, _ = _run(capsys, data_directory, command, "none")

    assert code == ExitCode.NOT_FOUND


def test_each_alert_needs_a_long_and_a_short_window() -> None:
    availability = ServiceLevelObjective(
        name="slos/serving-availability", service="serving", indicator="availability", objective=0.9999
    )
    latency = ServiceLevelObjective(
        name="slos/serving-latency",
        service="serving",
        indicator="latency",
        objective=0.99,
        threshold_ms=100,
    )

    available, fast = burn_rules([availability, latency])["groups"]

    page = available["rules"][0]
    assert page["alert"] == "ServingAvailabilityBudgetBurns"
    assert page["expr"].count("> 0.00144") == 2
    assert (page["expr"].count("[1h]"), page["expr"].count("[5m]")) == (2, 2)
    assert 'code=~"INTERNAL|' in page["expr"]
    assert [rule["labels"]["severity"] for rule in available["rules"]] == ["page", "page", "ticket", "page"]
    assert available["rules"][-1]["expr"] == 'max(up{job="serving"}) < 1 or absent(up{job="serving"})'
    assert len(fast["rules"]) == 3
    assert 'le="0.1"' in fast["rules"][0]["expr"]
    assert "WatchModels" in fast["rules"][0]["expr"]
