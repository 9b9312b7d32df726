"""Reads the counters of every service over HTTP."""

import asyncio
import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from mltrainer_monitor.domain.counters import CounterReading, ServiceReading
from mltrainer_monitor.wire.exposition import to_reading

_MAX_BYTES = 8 << 20
_DEFAULT_THRESHOLD_MS = 100.0
_log = structlog.get_logger()


class ScrapeTargets(Protocol):
    """Tells where the metrics of the instances of each service are."""

    def list(self) -> Mapping[str, Mapping[str, str]]:
        """Returns metrics addresses by service and instance, of instances that say they serve. May block."""
        ...


@dataclass(frozen=True, slots=True)
class HttpServiceScraper:
    """Asks all instances at once."""

    targets: ScrapeTargets
    thresholds_ms: Mapping[str, float]
    timeout_s: float

    async def look(self) -> list[ServiceReading]:
        """Returns one reading for every service that says it serves."""
        try:
            targets = await asyncio.to_thread(self.targets.list)
        except Exception as error:  # noqa: BLE001 - discovery may be away or its file half foreign: the next look asks again
            _log.warning("scrape_targets_unknown", error=repr(error))
            return []
        return list(await asyncio.gather(*(self._look_at(*target) for target in sorted(targets.items()))))

    async def _look_at(self, service: str, instances: Mapping[str, str]) -> ServiceReading:
        readings = await asyncio.gather(
            *(asyncio.to_thread(self._read, service, address) for address in instances.values())
        )
        found = {
            instance: reading
            for instance, reading in zip(instances, readings, strict=True)
            if reading is not None
        }
        return ServiceReading(service, found)

    def _read(self, service: str, address: str) -> CounterReading | None:
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=self.timeout_s)
        try:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            text = response.read(_MAX_BYTES).decode()
            return to_reading(text, self.thresholds_ms.get(service, _DEFAULT_THRESHOLD_MS))
        except (OSError, http.client.HTTPException, ValueError) as error:
            _log.debug("scrape_failed", service=service, address=address, error=repr(error))
            return None
        finally:
            connection.close()
