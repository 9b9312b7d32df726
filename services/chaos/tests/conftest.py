"""Experiments to change, and a stand-in service that a tiny supervisor brings back."""

import asyncio
import copy
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mltrainer_chaos.domain.parsing import Policy
from mltrainer_cli.processes import ProcessIdentity
from mltrainer_cli.record import ProcessRecord, State, SupervisorRecord, write_record

STAND_IN = Path(__file__).with_name("stand_in_serving.py")


def serving_probe(name: str = "serving-answers", service: str = "serving") -> dict[str, Any]:
    return {
        "type": "probe",
        "name": name,
        "tolerance": True,
        "provider": {
            "type": "python",
            "module": "mltrainer_chaos.probes",
            "func": "service_is_serving",
            "arguments": {"service": service, "timeout_s": 2.0},
        },
    }


def action(function: str, **arguments: Any) -> dict[str, Any]:
    return {
        "type": "action",
        "name": function.replace("_", "-"),
        "provider": {
            "type": "python",
            "module": "mltrainer_chaos.actions",
            "func": function,
            "arguments": arguments,
        },
    }


_EXPERIMENT: dict[str, Any] = {
    "version": "1.0.0",
    "title": "serving comes back",
    "description": "kills serving",
    "steady-state-hypothesis": {"title": "serving answers", "probes": [serving_probe()]},
    "method": [action("kill_service", service="serving")],
    "rollbacks": [],
    "runtime": {"hypothesis": {"frequency": 0.05}},
    "extensions": [
        {
            "name": "mltrainer",
            "recovery_tolerance_s": 10,
            "stop_conditions": [{"type": "duration", "seconds": 30}],
        }
    ],
}


@pytest.fixture
def experiment() -> dict[str, Any]:
    """Gives a valid experiment that the test may change."""
    return copy.deepcopy(_EXPERIMENT)


@pytest.fixture
def ours(experiment: dict[str, Any]) -> dict[str, Any]:
    """Gives the extension of the experiment."""
    extension: dict[str, Any] = experiment["extensions"][0]
    return extension


@pytest.fixture(scope="session")
def act() -> Callable[..., dict[str, Any]]:
    return action


@pytest.fixture(scope="session")
def probe() -> Callable[..., dict[str, Any]]:
    return serving_probe


@pytest.fixture
def policy() -> Policy:
    return Policy(frozenset({"serving", "registry", "kafka"}), max_targets=2, longest_s=60.0)


@dataclass(slots=True)
class TinySupervisor:
    """Keeps one stand-in for serving running and records it as the supervisor of the stack does."""

    directory: Path
    restart_s: float = 0.1
    restarts: int = -1
    process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def run(self, ready: asyncio.Event) -> None:
        while True:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, str(STAND_IN), str(self.directory), stdout=asyncio.subprocess.PIPE
            )
            assert self.process.stdout is not None
            await self.process.stdout.readline()
            self.restarts += 1
            self._record()
            ready.set()
            await self.process.wait()
            await asyncio.sleep(self.restart_s)

    def _record(self) -> None:
        identity = ProcessIdentity.of(self.pid)
        assert identity is not None
        entry = ProcessRecord(
            "serving-0", State.READY, "serving-0.log", pid=identity.pid, start_mark=identity.start_mark
        )
        record = SupervisorRecord(1, "none", State.READY, "127.0.0.1:1", (entry,))
        write_record(self.directory / "supervisor.json", record)


@asynccontextmanager
async def _supervised(directory: Path, restart_s: float = 0.1) -> AsyncIterator[TinySupervisor]:
    supervisor, ready = TinySupervisor(directory, restart_s), asyncio.Event()
    task = asyncio.ensure_future(supervisor.run(ready))
    try:
        await ready.wait()
        yield supervisor
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if supervisor.process is not None:
            with suppress(ProcessLookupError):
                supervisor.process.kill()
            await supervisor.process.wait()


@pytest.fixture(scope="session")
def supervised() -> Callable[..., Any]:
    """Runs a stand-in for serving inside a directory."""
    return _supervised


@pytest.fixture(scope="session")
def text() -> Callable[[Any], str]:
    return json.dumps
