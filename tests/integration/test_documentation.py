"""Executes the snippets of the README and the examples against a running stack."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.serving.v1.serving_service_pb2 import GetDeploymentRequest
from mltrainer_cli.market_data import bundled_symbols
from mltrainer_common.discovery import read_endpoints
from mltrainer_sdk import Client, RpcFailure
from mltrainer_testkit.stack import RunningStack, cheap_request, load_bars, running_stack, wait_for_rows
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
MODEL = "demo-volatility"
_SNIPPET = re.compile(
    r"<!-- executed: (?P<name>[a-z ]+) -->\n```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL
)
SNIPPETS = {match["name"]: match for match in _SNIPPET.finditer((ROOT / "README.md").read_text())}
TELEMETRY = yaml.safe_load((ROOT / "docs/telemetry.yaml").read_text())
_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("documentation")) as running:
        asyncio.run(_serve_a_model(running))
        yield running


async def _serve_a_model(stack: RunningStack) -> None:
    async with stack.client() as client:
        bars = await load_bars(stack, client, bundled_symbols(), date(2005, 1, 1))
        await wait_for_rows(client, bars)
        asked = cheap_request("documentation", seed=1, study=MODEL, alias="champion")
        asked.symbols[:] = bundled_symbols()
        asked.search.models[:] = ["ridge"]
        training = await client.wait_for_training(await client.request_training(asked), timeout_s=120)
        assert training.state == Training.STATE_COMPLETED, training
        async with asyncio.timeout(60):
            while not await _is_served(client):  # noqa: ASYNC110 - a state of another process
                await asyncio.sleep(0.1)


async def _is_served(client: Client) -> bool:
    try:
        deployment = await client.serving.GetDeployment(GetDeploymentRequest(name=f"deployments/{MODEL}"))
    except RpcFailure:
        return False
    return any(alias.alias == "champion" and alias.version for alias in deployment.aliases)


def _execute(stack: RunningStack, arguments: list[str]) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "MLTRAINER_DATA_DIRECTORY": str(stack.data.path), "PATH": path}
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readme_has_a_snippet_for_each_of_its_three_users() -> None:
    assert set(SNIPPETS) == {"trading app", "producer", "sre"}


def test_the_snippet_of_the_trading_app_predicts(stack: RunningStack) -> None:
    output = _execute(stack, [sys.executable, "-c", SNIPPETS["trading app"]["code"]])

    assert re.search(r"log variance of the next five days: -?\d+\.\d{3} \(version 1\)", output)


def test_the_snippet_of_the_producer_completes(stack: RunningStack) -> None:
    output = _execute(stack, [sys.executable, "-c", SNIPPETS["producer"]["code"]])

    assert "STATE_COMPLETED" in output


def test_the_commands_of_the_sre_work(stack: RunningStack) -> None:
    for line in SNIPPETS["sre"]["code"].splitlines():
        command = shlex.split(line, comments=True)
        if command:
            _execute(stack, command)


def test_the_examples_do_what_they_say(stack: RunningStack) -> None:
    directory = str(stack.data.path)

    predicted = _execute(stack, [sys.executable, "examples/trading_app.py", directory, MODEL, "AAPL"])
    produced = _execute(stack, [sys.executable, "examples/producer.py", directory])
    broker = stack.record().kafka_bootstrap_servers
    raw = _execute(stack, [sys.executable, "examples/raw_bytes_producer.py", broker])

    assert re.search(r"AAPL: -?\d+\.\d+ by version 1 \(champion\)", predicted)
    assert "STATE_COMPLETED" in produced or "STATE_DEDUPLICATED" in produced
    assert raw.startswith("mltrainer.scheduler.training-requested.v1 partition")


def test_every_metric_is_listed_in_the_telemetry_document_and_the_other_way_round(
    stack: RunningStack,
) -> None:
    endpoints = read_endpoints(stack.data.endpoints_file)
    addresses = [entry.metrics_address for instances in endpoints.values() for entry in instances.values()]

    emitted = set().union(*(_metrics(address) for address in addresses if address))

    assert emitted == set(TELEMETRY["metrics"])


def _metrics(address: str) -> set[str]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        families = text_string_to_metric_families(response.read().decode())
        names = {family.name for family in families if family.name.startswith("mltrainer_")}
    # The client library adds a time of creation to each counter and histogram.
    return {name for name in names if not name.endswith("_created")}


def test_every_span_is_listed_in_the_telemetry_document_with_its_attributes(stack: RunningStack) -> None:
    patterns = {
        re.compile(pattern): set(entry["attributes"]) for pattern, entry in TELEMETRY["spans"].items()
    }
    files = sorted((stack.data.path / "traces").glob("*.jsonl"))

    unlisted = {
        (name, tuple(sorted(attributes)))
        for file in files
        for name, attributes in _spans(file)
        if not any(pattern.fullmatch(name) and attributes <= known for pattern, known in patterns.items())
    }

    assert files
    assert unlisted == set()


def _spans(file: Path) -> Iterator[tuple[str, set[str]]]:
    for line in file.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    yield span["name"], {attribute["key"] for attribute in span["attributes"]}
