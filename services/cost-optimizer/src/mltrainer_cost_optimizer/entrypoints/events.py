"""Handles what scheduler and trainer report, many events in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from google.protobuf.message import Message
from mltrainer.scheduler.v1.events_pb2 import AllocationEnded, AllocationStarted
from mltrainer.trainer.v1.events_pb2 import UsageSampled
from mltrainer_common.database import Database
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.subscriptions import ConsumerGroup, subscribe_batch

from mltrainer_cost_optimizer.application.record_events import RecordEventsHandler, Report
from mltrainer_cost_optimizer.wire.events import to_end, to_start, to_usage

M = TypeVar("M", bound=Message)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OnReports(Generic[M]):
    """Books events of one type."""

    record: RecordEventsHandler
    decode: Callable[[str, M], Report]

    async def __call__(self, events: Sequence[Event[M]]) -> None:
        """Handles a batch."""
        booked = await self.record([self.decode(event.id, event.message) for event in events])
        _log.info("usage_booked", reports=booked.reports, seen_before=booked.seen_before)
        for finding in booked.findings:
            _log.info(
                "waste_found",
                kind=finding.kind,
                resource=finding.resource,
                cost_micros=finding.cost_micros,
            )


def consumer_group(
    slug: str, instance: str, database: Database, record: RecordEventsHandler
) -> ConsumerGroup:
    """Describes everything this service consumes."""
    return ConsumerGroup(
        name=f"mltrainer-{slug}",
        instance=instance,
        database=database,
        subscriptions=(
            subscribe_batch(AllocationStarted, OnReports(record, to_start)),
            subscribe_batch(AllocationEnded, OnReports(record, to_end)),
            subscribe_batch(UsageSampled, OnReports(record, to_usage)),
        ),
    )
