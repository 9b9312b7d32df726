"""Starts the measured servers and reads what they use from /proc."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from mltrainer_common.discovery import read_endpoints
from mltrainer_testkit.peers import peer_python
from mltrainer_testkit.ports import free_port

PEER_VERSION = "3.17.2"
_PEER_PACKAGES = (f"mlflow=={PEER_VERSION}", "psycopg2-binary==2.9.13")
START_TIMEOUT_S = 180.0
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Server:
    """A server process with all that it has started."""

    address: str
    process: psutil.Process
    start_s: float

    def cpu_s(self) -> float:
        """Returns the CPU time of the whole tree so far."""
        return sum(tree_cpu_s(process) for process in tree(self.process))

    def memory_mib(self) -> float:
        """Returns the memory of the whole tree; what processes share is counted once."""
        return sum(process.memory_full_info().pss for process in tree(self.process)) / (1 << 20)


def tree(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


def tree_cpu_s(process: psutil.Process) -> float:
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    # What ended children used is counted by the parent that waited for them.
    return used.user + used.system + used.children_user + used.children_system


def find_postgres() -> psutil.Process | None:
    """Returns the PostgreSQL server that this process has started; None for one in a container."""
    for process in psutil.Process().children(recursive=True):
        if process.name() == "postgres":
            return process
    return None


@contextmanager
def registry(
    data: Path, database_url: str, kafka: str, instance: str = "0", settings: dict[str, str] | None = None
) -> Iterator[Server]:
    """Runs a replica of our registry as `mltrainer up` does: one process, every interceptor, tokens."""
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(data),
        "MLTRAINER_INSTANCE": instance,
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MLTRAINER_TRACE_RATIO": "0.01",
        "MLTRAINER_REGISTRY_DATABASE_URL": database_url,
        **(settings or {}),
    }
    command = [sys.executable, "-P", "-m", "mltrainer_registry"]
    with started(command, environment, data / f"registry-{instance}.log") as (process, started_s):
        address = wait_for(lambda: _address(data, instance, process.pid), process)
        yield Server(address, process, time.perf_counter() - started_s)


def _address(data: Path, instance: str, pid: int) -> str | None:
    endpoint = read_endpoints(data / "endpoints.json").get("registry", {}).get(instance)
    return endpoint.address if endpoint and endpoint.pid == pid else None


@contextmanager
def floor(folder: Path) -> Iterator[Server]:
    """Runs a server that does nothing but gRPC."""
    port_file = folder / "floor.port"
    command = [sys.executable, str(_HERE / "floor.py")]
    with started(command, dict(os.environ), port_file) as (process, started_s):
        port = wait_for(lambda: port_file.read_text().strip() or None, process)
        yield Server(f"127.0.0.1:{port}", process, time.perf_counter() - started_s)


@contextmanager
def peer(folder: Path, database_url: str) -> Iterator[Server]:
    """Runs MLflow with its defaults, that is, four workers."""
    python = peer_python(f"mlflow-{PEER_VERSION}", _PEER_PACKAGES)
    port = free_port()
    url = database_url.replace("postgresql://", "postgresql+psycopg2://")
    command = [str(python.with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", url, "--default-artifact-root", str(folder / "mlflow-artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with started(command, environment, folder / "mlflow.log") as (process, started_s):
        wait_for(lambda: _is_healthy(port) or None, process)
        yield Server(f"127.0.0.1:{port}", process, time.perf_counter() - started_s)


@contextmanager
def started(
    command: list[str], environment: dict[str, str], log_file: Path
) -> Iterator[tuple[psutil.Process, float]]:
    started_s = time.perf_counter()
    with log_file.open("ab") as log:
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    process = psutil.Process(child.pid)
    try:
        yield process, started_s
    finally:
        stop(child, process)


def stop(child: "subprocess.Popen[bytes]", process: psutil.Process) -> None:
    if child.poll() is not None:
        return
    left = process.children(recursive=True)
    child.terminate()
    try:
        child.wait(timeout=15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for orphan in left:
        if orphan.is_running():
            orphan.kill()


def wait_for(probe: Any, process: psutil.Process) -> Any:
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError(f"{process.pid} ended while it started: see its log")
        if (found := probe()) is not None:
            return found
        time.sleep(0.05)
    raise TimeoutError("a server did not start: see its log")


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


class LoadGenerator:
    """Runs jobs in processes of their own, so that no server's figures contain the callers."""

    def __init__(self, processes: int) -> None:
        self._workers = [
            subprocess.Popen(
                [sys.executable, str(_HERE / "load.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(processes)
        ]

    async def run(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Gives each job to a process and returns their results."""
        pairs = zip(self._workers, jobs, strict=False)
        return await asyncio.gather(*(asyncio.to_thread(_ask, worker, job) for worker, job in pairs))

    def close(self) -> None:
        for worker in self._workers:
            worker.stdin.close()  # type: ignore[union-attr]  # it is a pipe
            worker.wait()


def _ask(worker: "subprocess.Popen[bytes]", job: dict[str, Any]) -> dict[str, Any]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(job).encode() + b"\n")
    worker.stdin.flush()
    answer: dict[str, Any] = json.loads(worker.stdout.readline())
    return answer
