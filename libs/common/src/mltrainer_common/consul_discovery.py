"""Finds and announces instances through a Consul agent."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import consul
import structlog

from mltrainer_common.discovery import Endpoint, EndpointPublisher

_CHECK_INTERVAL = "1s"
_CHECK_TIMEOUT = "1s"
# The shortest that Consul accepts.
_DEREGISTER_AFTER = "1m"
_WATCH_WAIT = "10s"
_RETRY_AFTER_S = 1.0
# A hanging agent must hold up neither start nor stop; the wait of a watch is added by the client.
_AGENT_TIMEOUT_S = 2.0
_log = structlog.get_logger()

ClientFactory = Callable[[], Any]


def consul_client(address: str) -> Any:
    """Makes a client of the agent at `host:port`."""
    host, _, port = address.rpartition(":")
    return consul.Consul(host=host, port=int(port), connections_timeout=_AGENT_TIMEOUT_S)


class ConsulResolver:
    """Watches the passing instances of each service asked for, in a thread, and answers from memory.

    Better an address that may be dead than none: the last answer stands while the agent cannot be reached,
    and while an agent that has come back without its memory has not heard from the instances.
    """

    def __init__(self, make_client: ClientFactory) -> None:
        self._make_client = make_client
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._watched: set[str] = set()
        self._closed = threading.Event()

    def resolve(self, slug: str) -> tuple[str, ...]:
        """Returns the addresses last seen; the first question about a service starts its watch."""
        if slug not in self._watched:
            self._watched.add(slug)
            threading.Thread(target=self._watch, args=(slug,), name=f"consul-{slug}", daemon=True).start()
        return self._addresses.get(slug, ())

    def close(self) -> None:
        """Ends the watches, each when its current query returns; they never hold up the process."""
        self._closed.set()

    def _watch(self, slug: str) -> None:
        client, index = self._make_client(), None
        while not self._closed.is_set():
            try:
                seen, nodes = client.health.service(slug, index=index, wait=_WATCH_WAIT, passing=True)
            except Exception as error:  # noqa: BLE001 - a thread's entrypoint: whatever fails, the watch goes on
                _log.warning("consul_watch_failed", peer=slug, error=repr(error))
                index = None
                self._closed.wait(_RETRY_AFTER_S)
                continue
            went_back = index is not None and int(seen) < int(index)
            addresses = tuple(sorted(_address(node) for node in nodes))
            if addresses or not (index is None or went_back):
                self._addresses[slug] = addresses
            # An index that goes back means the agent has lost its memory; Consul asks to start over then.
            index = None if went_back else seen


def _address(node: Mapping[str, Any]) -> str:
    service = node["Service"]
    host = service["Address"] or node["Node"]["Address"]
    return f"{host}:{service['Port']}"


class ConsulPublisher(EndpointPublisher):
    """Registers one instance under a stable id, so that a restart replaces its entry."""

    def __init__(self, client: Any, slug: str, instance: str) -> None:
        self._agent = client.agent
        self._slug = slug
        self._instance = instance

    @property
    def service_id(self) -> str:
        """The id of the registration."""
        return f"{self._slug}-{self._instance}"

    def publish(self, endpoint: Endpoint) -> None:
        """Registers the endpoint unless the agent knows it; called again, it heals a forgetful agent."""
        meta = {
            "metrics_address": endpoint.metrics_address,
            "pid": str(endpoint.pid),
            "instance": self._instance,
        }
        known = self._agent.services().get(self.service_id)
        if known and (known["Port"], known["Meta"]) == (endpoint.port, meta):
            return
        check = consul.Check.grpc(
            endpoint.address, _CHECK_INTERVAL, timeout=_CHECK_TIMEOUT, deregister=_DEREGISTER_AFTER
        )
        self._agent.service.register(
            self._slug,
            service_id=self.service_id,
            address=endpoint.address.rpartition(":")[0],
            port=endpoint.port,
            # The server answers before it is announced.
            check={**check, "status": "passing"},
            meta=meta,
            replace_existing_checks=True,
        )

    def withdraw(self) -> None:
        """Deregisters the instance."""
        self._agent.service.deregister(self.service_id)
