"""Collects garbage again and again, and counts it."""

import asyncio
from dataclasses import dataclass

import structlog
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from prometheus_client import CollectorRegistry, Counter, Gauge

from mltrainer_registry.application.collect_garbage import CollectGarbageHandler, GarbageReport

_log = structlog.get_logger()


class GarbageMetrics:
    """What collections come to."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stored = Gauge(
            "mltrainer_registry_stored_files",
            "Files in the content store at the last collection.",
            registry=registry,
        )
        self._deleted = Counter(
            "mltrainer_registry_garbage_files", "Files deleted that nothing refers to.", registry=registry
        )
        self._deleted_bytes = Counter(
            "mltrainer_registry_garbage_bytes",
            "Bytes of deleted files that nothing refers to.",
            registry=registry,
        )
        self._expired = Counter(
            "mltrainer_registry_expired_uploads", "Uploads without a version, given up.", registry=registry
        )

    def count(self, report: GarbageReport) -> None:
        """Adds a collection."""
        self._stored.set(report.scanned_count - report.garbage_count)
        self._deleted.inc(report.garbage_count)
        self._deleted_bytes.inc(report.garbage_bytes)
        self._expired.inc(report.expired_upload_count)


@dataclass(frozen=True, slots=True)
class GarbageLoop:
    """Collects at an interval; replicas may do so at the same time."""

    collect: CollectGarbageHandler
    metrics: GarbageMetrics
    interval_s: float

    async def run(self) -> None:
        """Collects until cancelled; an outage of the database or the store only delays it."""
        while True:
            await asyncio.sleep(self.interval_s)
            try:
                report = await self.collect(dry_run=False)
            except (DatabaseUnavailableError, DatabaseConflictError, OSError) as error:
                _log.warning("garbage_not_collected", error=str(error))
                continue
            self.metrics.count(report)
            if report.garbage_count or report.expired_upload_count or report.abandoned_part_count:
                _log.info(
                    "garbage_collected",
                    files=report.garbage_count,
                    size_bytes=report.garbage_bytes,
                    uploads=report.expired_upload_count,
                    parts=report.abandoned_part_count,
                )
