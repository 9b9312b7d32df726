"""Finds the metrics ports of services."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltrainer_common.discovery import Endpoint, read_endpoints


@dataclass(frozen=True, slots=True)
class EndpointsFileTargets:
    """Reads `endpoints.json`."""

    path: Path

    def list(self) -> dict[str, dict[str, str]]:
        """Returns the instances that have not withdrawn; what has no metrics (a broker) is left out."""
        serving = {
            slug: {name: one.metrics_address for name, one in instances.items() if _is_measured(one)}
            for slug, instances in read_endpoints(self.path).items()
        }
        return {slug: instances for slug, instances in serving.items() if instances}


def _is_measured(endpoint: Endpoint) -> bool:
    return endpoint.serving and bool(endpoint.metrics_address)


class ConsulTargets:
    """Asks the Consul agent for everything registered with a metrics address."""

    def __init__(self, make_client: Callable[[], Any]) -> None:
        self._make_client = make_client
        self._client: Any = None

    def list(self) -> dict[str, dict[str, str]]:
        """Returns the registered instances, passing or not: one that does not answer counts against it."""
        self._client = self._client or self._make_client()
        found: dict[str, dict[str, str]] = defaultdict(dict)
        _, services = self._client.catalog.services()
        for slug in services:
            for entry in self._client.catalog.service(slug)[1]:
                meta = entry.get("ServiceMeta") or {}
                if "metrics_address" in meta:
                    found[slug][meta.get("instance", entry["ServiceID"])] = meta["metrics_address"]
        return dict(found)
