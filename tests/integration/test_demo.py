"""Runs the demonstration as a user does, and holds what it must show."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SERVICES_OF_THE_TRACE = {"feature", "scheduler", "trainer", "registry", "serving"}
FACTS = {
    "elapsed_s",
    "volatility",
    "returns",
    "version",
    "predict",
    "experiment",
    "drift",
    "bill",
    "chaos",
    "trace_id",
}


@pytest.fixture(scope="module")
def trace_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "spans.jsonl"


@pytest.fixture(scope="module")
def facts(trace_file: Path) -> dict[str, Any]:
    command = Path(sys.executable).parent / "mltrainer"
    arguments = [str(command), "demo", "--output", "json", "--trace-file", str(trace_file)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=540, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_every_fact_is_there(facts: dict[str, Any]) -> None:
    assert set(facts) >= FACTS
    assert [name for name in FACTS if facts[name] is None] == []


def test_the_chosen_volatility_model_beats_har_and_persistence_on_the_same_folds(
    facts: dict[str, Any],
) -> None:
    volatility = facts["volatility"]

    assert volatility["verdict"] == "edge"
    assert volatility["r2"] > volatility["har_r2"] > volatility["persistence_r2"]


def test_returns_have_no_edge(facts: dict[str, Any]) -> None:
    assert facts["returns"]["verdict"] == "no edge"


def test_the_version_knows_where_it_comes_from(facts: dict[str, Any]) -> None:
    version = facts["version"]

    assert version["name"] == "models/demo-volatility/versions/1"
    assert version["number"] == 1
    assert all(version["lineage"].values())


def test_predictions_are_answered(facts: dict[str, Any]) -> None:
    predict = facts["predict"]

    assert predict["calls"] >= 1_000
    assert predict["failed"] == 0
    assert 0 < predict["p50_ms"] <= predict["p99_ms"]


def test_serving_comes_back_and_no_call_is_lost(facts: dict[str, Any]) -> None:
    chaos = facts["chaos"]

    assert chaos["verdict"] == "PASSED"
    assert chaos["recovery_s"] > 0
    assert chaos["lost"] == 0


def test_work_is_billed_and_days_are_judged(facts: dict[str, Any]) -> None:
    assert facts["bill"]["total_usd"] > 0
    assert len(facts["bill"]["lines"]) == 3
    assert facts["experiment"]["days_judged"] >= 20


def test_one_trace_goes_from_the_request_to_the_served_version(
    facts: dict[str, Any], trace_file: Path
) -> None:
    services = {service for service, trace_id, _ in _spans(trace_file) if trace_id == facts["trace_id"]}
    loads = [name for _, trace_id, name in _spans(trace_file) if trace_id == facts["trace_id"]]

    assert services >= SERVICES_OF_THE_TRACE
    assert "load_version" in loads


def _spans(file: Path) -> Iterator[tuple[str, str, str]]:
    for line in file.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            attributes = {item["key"]: item["value"] for item in resource["resource"]["attributes"]}
            service = attributes["service.name"]["stringValue"]
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    yield service, span["traceId"], span["name"]
