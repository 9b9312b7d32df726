"""The commands of single services against the real services, each alone: no Kafka, no peers, no data."""

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
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.main import run

pytestmark = pytest.mark.integration

SERVICES = ("cost-optimizer", "feature", "registry", "scheduler", "serving")
READY_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("services")
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(directory),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"mltrainer_{slug.replace('-', '_')}"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for slug in SERVICES
    ]
    try:
        _wait_until_announced(directory / "endpoints.json")
        yield directory
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in processes] == [0] * len(processes)


def _wait_until_announced(endpoints: Path) -> None:
    until_s = time.monotonic() + READY_TIMEOUT_S
    while not endpoints.exists() or any(slug not in endpoints.read_text() for slug in SERVICES):
        assert time.monotonic() < until_s
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def _stack(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTRAINER_DATA_DIRECTORY", str(data))
    monkeypatch.setenv("MLTRAINER_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")


def _ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run([*arguments, "--output", "json"]) == ExitCode.OK
    return json.loads(capsys.readouterr().out)


def test_an_empty_ledger_has_an_empty_bill(capsys: pytest.CaptureFixture[str]) -> None:
    bill = _ask(capsys, "costs", "report", "--study", "vol5", "--start", "2026-01-01", "--end", "2026-02-01")
    found = _ask(capsys, "costs", "waste")
    codes = [run(["costs", "report"]), run(["costs", "waste"])]

    assert (bill["total_micros"], bill["lines"], bill["studies"], found) == (0, [], [], [])
    assert bill["start_time"] == "2026-01-01T00:00:00Z"
    assert codes == [ExitCode.OK, ExitCode.OK]
    assert "Total 0.000000 USD, of which 0.000000 USD idle." in capsys.readouterr().out


@pytest.mark.parametrize("group", ["train", "models", "datasets", "deployments"])
def test_lists_of_nothing_are_empty(capsys: pytest.CaptureFixture[str], group: str) -> None:
    assert _ask(capsys, group, "list") == []
    assert run([group, "list"]) == ExitCode.OK


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["train", "show", "none"], id="training"),
        pytest.param(["train", "why", "none"], id="reason of a training"),
        pytest.param(["train", "cancel", "none"], id="cancelled training"),
        pytest.param(["models", "show", "none"], id="model"),
        pytest.param(["models", "promote", "none", "1"], id="promoted version"),
        pytest.param(["models", "rollback", "none"], id="alias"),
        pytest.param(["models", "lineage", "none"], id="lineage of an alias"),
        pytest.param(["models", "lineage", "none", "3"], id="lineage of a version"),
        pytest.param(["features", "history", "none", "AAPL"], id="view"),
    ],
)
def test_what_does_not_exist_is_not_found(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(arguments) == ExitCode.NOT_FOUND

    assert capsys.readouterr().err.count("\n") == 1


def test_a_wrong_state_names_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "list", "--state", "happy"]) == ExitCode.USAGE
    assert "QUEUED, PLACED" in capsys.readouterr().err


def test_features_without_values_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    views = _ask(capsys, "features", "list")
    view = views[0]["name"].removeprefix("featureViews/")

    values = _ask(capsys, "features", "get", "AAPL", "--feature", f"{view}:{views[0]['features'][0]['name']}")
    rows = _ask(capsys, "features", "history", view, "AAPL", "--start", "2020-01-01")

    assert [(one["symbol"], one["value"], one["status"]) for one in values] == [("AAPL", None, "NOT_FOUND")]
    assert rows == []


def test_features_are_computed_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    views = _ask(capsys, "features", "on-demand")
    values = _ask(
        capsys, "features", "get", "QQ", "--feature", "trade_context:variance_slope", "--allow-stale"
    )

    assert [view["name"] for view in views] == ["trade_context"]
    assert [value["status"] for value in values] == ["NOT_FOUND"]
    assert run(["features", "on-demand"]) == ExitCode.OK


def test_a_request_without_a_broker_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["train", "submit", "--study", "vol5", "--model", "ridge", "--symbol", "AAPL"])

    assert code == ExitCode.NOT_RUNNING
    assert "The broker cannot be reached" in capsys.readouterr().err


def test_bars_of_a_file_become_features_and_the_refused_ones_are_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "bars.csv"
    lines = [f"ZZ,2024-01-{day:02},{100 + day}" for day in range(1, 11)]
    file.write_text("\n".join(["symbol,event_time,close", *lines, "ZZ,2024-01-11,-1"]))
    plot = ["features", "plot", "market_returns", "ZZ", "--feature", "return_1"]
    picture = tmp_path / "returns.png"

    loaded = _ask(capsys, "features", "backfill", str(file))
    view = _ask(capsys, "features", "show", "market_returns")
    refused = _ask(capsys, "features", "refused", "--symbol", "ZZ")
    replayed = _ask(capsys, "features", "replay", refused[0]["name"])

    assert (loaded["accepted_count"], loaded["refused_count"]) == (10, 1)
    assert view["row_count"] == 10
    assert [(bar["reason"], bar["close"]) for bar in refused] == [("PRICE_NOT_POSITIVE", -1.0)]
    assert replayed["refused_bars"] == refused
    assert run(["features", "freshness"]) == ExitCode.CLAIM_FAILED
    assert run(["features", "skew"]) == ExitCode.NOT_FOUND
    assert "Not fresh: market_cross_section" in capsys.readouterr().err
    assert run(plot) == run([*plot, "--picture", str(picture)]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("ZZ ")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run(["features", "plot", "market_returns", "NONE", "--feature", "return_1"]) == ExitCode.NOT_FOUND
    assert run(["features", "plot", "market_returns", "ZZ", "--feature", "none"]) == ExitCode.USAGE
