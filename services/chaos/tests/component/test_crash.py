"""Kills chaos itself with SIGKILL in the middle of a fault, and starts it alone as a process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from mltrainer.chaos.v1 import chaos_service_pb2 as api
from mltrainer.chaos.v1.chaos_service_pb2_grpc import ChaosServiceStub
from mltrainer.chaos.v1.resources_pb2 import ChaosRun
from mltrainer_common.authorization import Role
from mltrainer_common.discovery import StaticResolver, read_endpoints
from mltrainer_common.rpc_client import Caller, ServiceChannel
from mltrainer_common.rpc_metrics import ClientMetrics
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key
from opentelemetry import trace
from prometheus_client import CollectorRegistry

pytestmark = pytest.mark.integration
LIMIT_S = 60.0
GUARDIAN = "guardian_process.py"


@contextmanager
def chaos_process(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(directory),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "MLTRAINER_INSTANCE": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mltrainer_chaos"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def operator(directory: Path) -> AsyncIterator[Any]:
    issuer = TokenIssuer(load_or_create_token_key(directory / "token.key"), "users/sre", [Role.OPERATOR])
    caller = Caller(issuer, trace.get_tracer("test"), ClientMetrics(CollectorRegistry()))
    resolver = StaticResolver(directory / "endpoints.json")
    async with ServiceChannel("chaos", resolver, caller) as channel:
        yield ChaosServiceStub(channel)


async def wait_until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.01)


async def ready(directory: Path, process: subprocess.Popen[bytes]) -> None:
    def announced() -> bool:
        assert process.poll() is None
        instances = read_endpoints(directory / "endpoints.json").get("chaos", {})
        return any(item.pid == process.pid for item in instances.values())

    await wait_until(announced)


async def begin(stub: Any, experiment: dict[str, Any]) -> str:
    request = api.CreateChaosRunRequest(experiment_json=json.dumps(experiment), reason="crash test")
    run: ChaosRun = await stub.CreateChaosRun(request)
    return run.name


def is_suspended(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def has_ended(process: psutil.Process) -> bool:
    # An orphan whose new parent does not collect it stays as a zombie; it does nothing any more.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def guardians_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if any(GUARDIAN in part for part in child.cmdline())]


async def test_a_pause_ends_with_its_lease_although_chaos_was_killed_and_never_came_back(
    tmp_path: Path, supervised: Any, experiment: dict[str, Any], act: Callable[..., dict[str, Any]]
) -> None:
    experiment["method"] = [act("pause_service", service="serving", duration_s=3)]
    async with supervised(tmp_path) as supervisor:
        with chaos_process(tmp_path) as chaos:
            await ready(tmp_path, chaos)
            async with operator(tmp_path) as stub:
                await begin(stub, experiment)
            await wait_until(lambda: is_suspended(supervisor.pid))
            suspended_s = time.monotonic()
            await wait_until(lambda: guardians_of(chaos))
            (guardian,) = guardians_of(chaos)
            chaos.kill()
            chaos.wait()
        was_left = is_suspended(supervisor.pid)
        await wait_until(lambda: not is_suspended(supervisor.pid))
        lasted_s = time.monotonic() - suspended_s
        await wait_until(lambda: has_ended(guardian))

    assert was_left
    assert lasted_s < 3.5


async def test_a_restarted_chaos_undoes_the_fault_at_once_and_ends_the_run(
    tmp_path: Path, supervised: Any, experiment: dict[str, Any], act: Callable[..., dict[str, Any]]
) -> None:
    experiment["method"] = [act("pause_service", service="serving", duration_s=300)]
    async with supervised(tmp_path) as supervisor:
        with chaos_process(tmp_path) as chaos:
            await ready(tmp_path, chaos)
            async with operator(tmp_path) as stub:
                name = await begin(stub, experiment)
            await wait_until(lambda: is_suspended(supervisor.pid))
            await wait_until(lambda: guardians_of(chaos))
            guardians = guardians_of(chaos)
            chaos.kill()
            chaos.wait()
        for guardian in guardians:
            guardian.kill()
        was_left = is_suspended(supervisor.pid)
        with chaos_process(tmp_path) as chaos:
            await ready(tmp_path, chaos)
            await wait_until(lambda: not is_suspended(supervisor.pid))
            async with operator(tmp_path) as stub:
                experiment["method"] = []
                run = await finished(stub, name)
                next_run = await finished(stub, await begin(stub, experiment))
            chaos.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(chaos.wait)

    assert was_left
    assert (run.verdict, run.state) == ("ABORTED", run.STATE_ABORTED)
    assert run.explanation == "chaos ended in the middle of this run"
    assert run.faults[0].HasField("revert_time")
    assert json.loads(run.journal_json)["status"] == "aborted"
    assert next_run.verdict == "PASSED"
    assert code == 0


async def finished(stub: Any, name: str) -> ChaosRun:
    async with asyncio.timeout(LIMIT_S):
        while not (run := await stub.GetChaosRun(api.GetChaosRunRequest(name=name))).verdict:  # noqa: ASYNC110 - as a client polls
            await asyncio.sleep(0.05)
    found: ChaosRun = run
    return found


async def test_chaos_alone_is_ready_refuses_what_is_absent_and_ends_with_zero(
    tmp_path: Path, experiment: dict[str, Any]
) -> None:
    with chaos_process(tmp_path) as chaos:
        await ready(tmp_path, chaos)
        async with operator(tmp_path) as stub:
            listed = await stub.ListChaosRuns(api.ListChaosRunsRequest())
            experiment["method"] = []
            run = await finished(stub, await begin(stub, experiment))
        chaos.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(chaos.wait)

    assert list(listed.chaos_runs) == []
    assert (run.verdict, code) == ("FAILED", 0)
    assert "did not hold before" in run.explanation
