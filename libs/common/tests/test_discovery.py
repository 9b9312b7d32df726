"""Finding services by the shared file and through Consul's client."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mltrainer_common.consul_discovery import ConsulPublisher, ConsulResolver
from mltrainer_common.discovery import (
    Announcement,
    Endpoint,
    StaticPublisher,
    StaticResolver,
    read_endpoints,
)
from mltrainer_common.rpc_transport import target


class Now:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def endpoint(port: int, *, serving: bool = True) -> Endpoint:
    return Endpoint(f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}", os.getpid(), serving)


PUBLISH_MANY = """
import sys
from pathlib import Path
from mltrainer_common.discovery import Endpoint, StaticPublisher

path, instance = Path(sys.argv[1]), sys.argv[2]
for port in range(5000, 5050):
    endpoint = Endpoint(f"127.0.0.1:{port + int(instance)}", "127.0.0.1:1", 1)
    StaticPublisher(path, "registry", instance).publish(endpoint)
"""


def test_processes_that_publish_at_once_lose_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "new" / "endpoints.json"

    processes = [
        subprocess.Popen([sys.executable, "-c", PUBLISH_MANY, path, str(number)]) for number in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0] * 4

    entries = read_endpoints(path)["registry"]
    assert {name: item.port for name, item in entries.items()} == {str(n): 5049 + n for n in range(4)}
    assert sorted(item.name for item in path.parent.iterdir()) == ["endpoints.json", "endpoints.json.lock"]


def test_an_instance_is_found_until_it_withdraws(tmp_path: Path) -> None:
    now = Now()
    resolver = StaticResolver(tmp_path / "endpoints.json", now)
    first, second = (StaticPublisher(tmp_path / "endpoints.json", "registry", name) for name in "01")
    first.publish(endpoint(5000))
    second.publish(endpoint(6000))
    both = resolver.resolve("registry")
    first.withdraw()
    now.seconds += 0.11

    assert both == ("127.0.0.1:5000", "127.0.0.1:6000")
    assert resolver.resolve("registry") == ("127.0.0.1:6000",)
    assert first.previous() == endpoint(5000, serving=False)
    assert resolver.resolve("feature") == ()


def test_the_file_is_looked_at_ten_times_a_second_at_most(tmp_path: Path) -> None:
    now = Now()
    resolver = StaticResolver(tmp_path / "endpoints.json", now)
    before = resolver.resolve("registry")
    StaticPublisher(tmp_path / "endpoints.json", "registry", "0").publish(endpoint(5000))
    now.seconds += 0.05
    too_early = resolver.resolve("registry")
    now.seconds += 0.06

    assert (before, too_early) == ((), ())
    assert resolver.resolve("registry") == ("127.0.0.1:5000",)


def test_a_file_that_is_removed_is_forgotten(tmp_path: Path) -> None:
    now = Now()
    resolver = StaticResolver(tmp_path / "endpoints.json", now)
    StaticPublisher(tmp_path / "endpoints.json", "registry", "0").publish(endpoint(5000))
    assert resolver.resolve("registry")
    (tmp_path / "endpoints.json").unlink()
    now.seconds += 0.11

    assert resolver.resolve("registry") == ()


def test_what_is_withdrawn_is_not_announced_again(tmp_path: Path) -> None:
    publisher = StaticPublisher(tmp_path / "endpoints.json", "registry", "0")
    announcement = Announcement(publisher, endpoint(5000))
    announcement.renew()
    announcement.withdraw()

    announcement.renew()

    assert publisher.previous() == endpoint(5000, serving=False)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        pytest.param(["127.0.0.1:1", "10.0.0.2:2"], "ipv4:127.0.0.1:1,10.0.0.2:2", id="numbers"),
        pytest.param(["localhost:1"], "ipv4:127.0.0.1:1", id="localhost"),
        pytest.param(["registry.svc:1"], "dns:///registry.svc:1", id="name"),
    ],
)
def test_addresses_become_one_target(addresses: list[str], expected: str) -> None:
    assert target(addresses) == expected


class FakeAgent:
    """Behaves like the agent's service endpoints of py-consul's client."""

    def __init__(self) -> None:
        self.agent = self
        self.service = self
        self.entries: dict[str, dict[str, Any]] = {}
        self.registrations = 0

    def services(self) -> dict[str, dict[str, Any]]:
        return self.entries

    def register(self, name: str, **fields: Any) -> None:
        self.registrations += 1
        self.entries[fields["service_id"]] = {
            "Service": name,
            "Port": fields["port"],
            "Meta": fields["meta"],
            "check": fields["check"],
        }

    def deregister(self, service_id: str) -> None:
        self.entries.pop(service_id, None)


def test_a_restart_replaces_its_consul_entry() -> None:
    agent = FakeAgent()
    for port in (5000, 5001):
        ConsulPublisher(agent, "registry", "0").publish(endpoint(port))

    assert list(agent.entries) == ["registry-0"]
    assert agent.entries["registry-0"]["Port"] == 5001
    assert agent.entries["registry-0"]["check"] == {
        "grpc": "127.0.0.1:5001",
        "interval": "1s",
        "timeout": "1s",
        "DeregisterCriticalServiceAfter": "1m",
        "status": "passing",
    }


def test_publishing_again_heals_a_forgetful_agent_and_disturbs_no_other() -> None:
    agent = FakeAgent()
    publisher = ConsulPublisher(agent, "registry", "0")
    publisher.publish(endpoint(5000))
    publisher.publish(endpoint(5000))
    calm = agent.registrations
    agent.entries.clear()
    publisher.publish(endpoint(5000))
    healed = agent.registrations
    publisher.withdraw()

    assert (calm, healed, agent.entries) == (1, 2, {})


class FakeHealth:
    """Answers each query of a watch with the next of the given results."""

    def __init__(self, results: list[Callable[[], Any]]) -> None:
        self.health = self
        self.results = results
        self.indices: list[Any] = []
        self.exhausted = threading.Event()

    def service(self, _slug: str, *, index: Any, wait: str, passing: bool) -> Any:
        assert (wait, passing) == ("10s", True)
        self.indices.append(index)
        if not self.results:
            self.exhausted.set()
            raise ConnectionError
        return self.results.pop(0)()


def node(address: str, port: int) -> dict[str, Any]:
    return {"Service": {"Address": address, "Port": port}, "Node": {"Address": "10.0.0.9"}}


def test_a_consul_watch_follows_what_passes_and_keeps_the_last_answer() -> None:
    health = FakeHealth(
        [
            lambda: ("7", [node("10.0.0.1", 5000)]),
            lambda: ("9", [node("10.0.0.2", 5000), node("", 5001)]),
            lambda: ("3", [node("10.0.0.2", 5000), node("", 5001)]),
        ]
    )
    resolver = ConsulResolver(lambda: health)

    resolver.resolve("registry")
    assert health.exhausted.wait(5.0)
    resolver.close()

    assert resolver.resolve("registry") == ("10.0.0.2:5000", "10.0.0.9:5001")
    assert health.indices == [None, "7", "9", None]


def test_an_agent_that_comes_back_without_its_memory_empties_nothing_until_it_says_so_twice() -> None:
    seen: list[tuple[str, ...]] = []

    def look_then_answer() -> Any:
        seen.append(resolver.resolve("registry"))
        return "2", []

    full, empty = (lambda: ("7", [node("10.0.0.1", 5000)])), (lambda: ("2", []))
    health = FakeHealth([full, empty, look_then_answer, lambda: ("3", [])])
    resolver = ConsulResolver(lambda: health)

    resolver.resolve("registry")
    assert health.exhausted.wait(5.0)
    resolver.close()

    assert seen == [("10.0.0.1:5000",)]
    assert resolver.resolve("registry") == ()
