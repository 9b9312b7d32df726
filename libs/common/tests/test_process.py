"""What a service process answers to its supervisor: exit codes and one sentence on standard error."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mltrainer_common.discovery import Endpoint, read_endpoints

pytestmark = pytest.mark.integration

MAIN = """
import asyncio, sys
from pydantic_settings import BaseSettings
from mltrainer_common.authorization import RoleTable
from mltrainer_common.errors import StartupError
from mltrainer_common.service import ServiceParts, run_service

class Settings(BaseSettings):
    behaviour: str = sys.argv[1]

async def fail():
    await asyncio.sleep(0.05)
    raise RuntimeError("the relay is broken")

async def assemble(context, settings):
    if settings.behaviour == "refuse":
        raise StartupError("the schema is newer than this code: upgrade")
    background = {"relay": fail} if settings.behaviour == "fail" else {}
    return ServiceParts([], RoleTable({}), lambda error: None, background)

sys.exit(run_service("greeter", Settings, assemble))
"""


def start(directory: Path, behaviour: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, behaviour],
        env={"MLTRAINER_DATA_DIRECTORY": str(directory), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def endpoints(directory: Path) -> dict[str, Endpoint]:
    return read_endpoints(directory / "endpoints.json").get("greeter", {})


def wait_until_serving(directory: Path) -> None:
    until = time.monotonic() + 30
    while not any(item.serving for item in endpoints(directory).values()):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_zero(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "serve")
    wait_until_serving(tmp_path)
    process.send_signal(number)

    _, errors = process.communicate(timeout=30)

    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in errors.splitlines()] == [
        "service_started",
        "service_stopped",
    ]
    assert not endpoints(tmp_path)["0"].serving


def test_a_broken_loop_ends_with_one_and_says_which(tmp_path: Path) -> None:
    process = start(tmp_path, "fail")

    _, errors = process.communicate(timeout=30)

    lines = [json.loads(line) for line in errors.splitlines()]
    failure = next(line for line in lines if line["event"] == "background_failed")
    assert process.returncode == 1
    assert failure["loop"] == "relay"
    assert "the relay is broken" in failure["exception"]


@pytest.mark.parametrize(
    ("behaviour", "environment", "sentence"),
    [
        pytest.param("refuse", {}, "the schema is newer", id="part"),
        pytest.param("serve", {"MLTRAINER_TRACE_RATIO": "7"}, "trace_ratio", id="settings"),
        pytest.param("serve", {"MLTRAINER_BIND_HOST": "192.0.2.1"}, "192.0.2.1", id="bind"),
    ],
)
def test_what_cannot_start_ends_with_two_and_a_sentence(
    tmp_path: Path, behaviour: str, environment: dict[str, str], sentence: str
) -> None:
    process = start(tmp_path, behaviour, **environment)

    _, errors = process.communicate(timeout=30)

    assert process.returncode == 2
    assert errors.splitlines()[0].startswith("mltrainer greeter: ")
    assert sentence in errors
    assert "Traceback" not in errors
