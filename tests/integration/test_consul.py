"""Replicas found through a real Consul agent, their state in one PostgreSQL database."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
from grpc import StatusCode
from mltrainer.registry.v1.registry_service_pb2 import ListModelsRequest
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer_common.authorization import Role
from mltrainer_common.consul_discovery import ConsulResolver, consul_client
from mltrainer_common.errors import RpcFailure
from mltrainer_common.rpc_client import Caller, ServiceChannel
from mltrainer_common.rpc_metrics import ClientMetrics
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key
from mltrainer_testkit.consul import ConsulNotFoundError, consul_agent, find_or_build_consul
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

# Building the agent takes minutes, once.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

MODULE = Path(__file__).parent / "consul_build"
CHECK_INTERVAL_S = CHECK_TIMEOUT_S = 1.0
# From the agent's verdict to the answer of its next query.
NOTICE_S = 0.5
LIST_MODELS = "/mltrainer.registry.v1.RegistryService/ListModels"


@pytest.fixture(scope="module")
def executable() -> Path:
    try:
        return find_or_build_consul(MODULE)
    except ConsulNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def agent(executable: Path) -> Iterator[str]:
    with consul_agent(executable) as address:
        yield address


@dataclass
class Replicas:
    """Processes of the registry on one database."""

    directory: Path
    database_url: str
    consul_address: str
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, instance: str) -> None:
        environment = {
            **os.environ,
            "MLTRAINER_DATA_DIRECTORY": str(self.directory / instance),
            "MLTRAINER_TOKEN_KEY_FILE": str(self.directory / "token.key"),
            "MLTRAINER_INSTANCE": instance,
            "MLTRAINER_DISCOVERY": "consul",
            "MLTRAINER_CONSUL_ADDRESS": self.consul_address,
            # No broker: relay and consumer keep trying, the rest of the service answers.
            "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
            "MLTRAINER_REGISTRY_DATABASE_URL": self.database_url,
        }
        with (self.directory / f"{instance}.log").open("ab") as log:
            self.processes[instance] = subprocess.Popen(
                [sys.executable, "-P", "-m", "mltrainer_registry"], env=environment, stdout=log, stderr=log
            )

    def end(self, instance: str, number: signal.Signals) -> int:
        process = self.processes.pop(instance)
        process.send_signal(number)
        return process.wait(60)

    def kill_all(self) -> None:
        for instance in list(self.processes):
            self.end(instance, signal.SIGKILL)


@pytest.fixture
def replicas(tmp_path: Path, postgres_url: str, agent: str) -> Iterator[Replicas]:
    running = Replicas(tmp_path, postgres_url, agent)
    load_or_create_token_key(tmp_path / "token.key")
    try:
        for instance in "01":
            running.start(instance)
        wait_until(lambda: passing(agent) == {"registry-0", "registry-1"}, timeout_s=90)
        yield running
    finally:
        running.kill_all()


def passing(agent: str) -> set[str]:
    _, nodes = consul_client(agent).health.service("registry", passing=True)
    return {node["Service"]["ID"] for node in nodes}


def entries(agent: str) -> dict[str, dict[str, Any]]:
    """Returns all that the catalogue knows of the registry, healthy or not, by service id."""
    _, nodes = consul_client(agent).catalog.service("registry")
    return {node["ServiceID"]: node for node in nodes}


def wait_until(condition: Callable[[], bool], timeout_s: float) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s
        time.sleep(0.02)
    return time.monotonic() - started


class Callers:
    """Calls the registry without a pause, from a thread with a loop of its own, and counts."""

    def __init__(self, directory: Path, agent: str, *, idempotent: bool = True) -> None:
        self.answered = 0
        self.failures: list[RpcFailure] = []
        self._key = load_or_create_token_key(directory / "token.key")
        self._resolver = ConsulResolver(lambda: consul_client(agent))
        self._methods = (LIST_MODELS,) if idempotent else ()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._call()))

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._resolver.resolve("registry")

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.answered > 0, timeout_s=30)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._resolver.close()

    def wait_for_more(self, number: int = 50) -> None:
        goal = self.answered + number
        wait_until(lambda: self.answered >= goal, timeout_s=60)

    async def _call(self) -> None:
        issuer = TokenIssuer(self._key, "services/test", [Role.SERVICE])
        caller = Caller(issuer, NoOpTracer(), ClientMetrics(CollectorRegistry()))
        async with ServiceChannel(
            "registry", self._resolver, caller, idempotent_methods=self._methods
        ) as channel:
            stub = RegistryServiceStub(channel)
            while not self._ended.is_set():
                try:
                    await stub.ListModels(ListModelsRequest(), timeout=5.0)
                    self.answered += 1
                except RpcFailure as failure:
                    self.failures.append(failure)
                await asyncio.sleep(0.002)


def test_a_killed_replica_leaves_the_passing_view_in_time_and_no_call_fails(
    replicas: Replicas, agent: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with Callers(tmp_path, agent) as callers:
        wait_until(lambda: len(callers.addresses) == 2, timeout_s=5)
        before = entries(agent)

        replicas.end("0", signal.SIGKILL)
        absent_after_s = wait_until(lambda: passing(agent) == {"registry-1"}, timeout_s=30)
        callers.wait_for_more()
        left = callers.addresses

    record_property("absent_after_s", round(absent_after_s, 2))
    record_property("answered", callers.answered)
    assert absent_after_s <= CHECK_INTERVAL_S + CHECK_TIMEOUT_S + NOTICE_S
    assert callers.failures == []
    assert left == (f"127.0.0.1:{before['registry-1']['ServicePort']}",)


def test_a_replica_that_hangs_leaves_the_passing_view_in_time_and_the_other_answers(
    replicas: Replicas, agent: str, tmp_path: Path
) -> None:
    with Callers(tmp_path, agent) as callers:
        wait_until(lambda: len(callers.addresses) == 2, timeout_s=5)

        replicas.processes["0"].send_signal(signal.SIGSTOP)
        absent_after_s = wait_until(lambda: passing(agent) == {"registry-1"}, timeout_s=30)
        callers.wait_for_more()

    assert absent_after_s <= CHECK_INTERVAL_S + CHECK_TIMEOUT_S + NOTICE_S
    # Only the call that the hanging replica had already taken.
    assert [failure.code for failure in callers.failures] in ([], [StatusCode.DEADLINE_EXCEEDED])


def test_a_replica_killed_and_started_again_takes_its_service_id_back(
    replicas: Replicas, agent: str, tmp_path: Path
) -> None:
    before = entries(agent)
    with Callers(tmp_path, agent) as callers:
        replicas.end("0", signal.SIGKILL)
        wait_until(lambda: passing(agent) == {"registry-1"}, timeout_s=30)

        replicas.start("0")
        wait_until(lambda: len(passing(agent)) == 2, timeout_s=90)
        wait_until(lambda: len(callers.addresses) == 2, timeout_s=5)
        callers.wait_for_more()
        after = entries(agent)

    assert set(after) == {"registry-0", "registry-1"}
    assert after["registry-0"]["ServiceMeta"]["pid"] != before["registry-0"]["ServiceMeta"]["pid"]
    assert after["registry-1"]["ServicePort"] == before["registry-1"]["ServicePort"]
    assert set(callers.addresses) == {f"127.0.0.1:{entry['ServicePort']}" for entry in after.values()}
    assert callers.failures == []


def test_a_replica_that_is_asked_to_stop_deregisters_and_fails_no_call(
    replicas: Replicas, agent: str, tmp_path: Path
) -> None:
    with Callers(tmp_path, agent, idempotent=False) as callers:
        wait_until(lambda: len(callers.addresses) == 2, timeout_s=5)

        code = replicas.end("0", signal.SIGTERM)
        callers.wait_for_more()

    assert code == 0
    assert set(entries(agent)) == {"registry-1"}
    assert consul_client(agent).agent.services().keys() == {"registry-1"}
    assert callers.failures == []


def test_an_agent_that_loses_its_memory_is_told_again_and_no_call_fails(
    executable: Path, tmp_path: Path, postgres_url: str
) -> None:
    load_or_create_token_key(tmp_path / "token.key")
    with ExitStack() as stack:
        with consul_agent(executable) as agent:
            replicas = Replicas(tmp_path, postgres_url, agent)
            stack.callback(replicas.kill_all)
            for instance in "01":
                replicas.start(instance)
            wait_until(lambda: len(passing(agent)) == 2, timeout_s=90)
            callers = stack.enter_context(Callers(tmp_path, agent))
        callers.wait_for_more()

        with consul_agent(executable, port=int(agent.rpartition(":")[2])):
            wait_until(lambda: passing(agent) == {"registry-0", "registry-1"}, timeout_s=30)
            callers.wait_for_more()

    assert callers.failures == []
