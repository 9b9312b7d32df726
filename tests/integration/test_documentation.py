"""Executes the snippets of the README and the examples against a running stack."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.serving.v1.serving_service_pb2 import GetDeploymentRequest
from mltrainer_cli.market_data import bundled_symbols
from mltrainer_sdk import Client, RpcFailure
from mltrainer_testkit.stack import RunningStack, cheap_request, load_bars, running_stack, wait_for_rows

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
MODEL = "demo-volatility"
_SNIPPET = re.compile(
    r"<!-- executed: (?P<name>[a-z ]+) -->\n```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL
)
SNIPPETS = {match["name"]: match for match in _SNIPPET.finditer((ROOT / "README.md").read_text())}
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
