"""Takes bars from events."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer_common.database import Database
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.subscriptions import ConsumerGroup, subscribe_batch

from mltrainer_feature.application.record_bars import RecordBarsHandler
from mltrainer_feature.wire.events import to_received_bars

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OnBarsClosed:
    """Stores a batch of bars in one transaction."""

    record_bars: RecordBarsHandler

    async def __call__(self, events: Sequence[Event[BarClosed]]) -> None:
        recorded = await self.record_bars(to_received_bars(events))
        for refusal in recorded.refusals:
            _log.warning("bar_refused", symbol=refusal.symbol, reason=refusal.reason, field=refusal.field)


def consumer_group(instance: str, database: Database, record_bars: RecordBarsHandler) -> ConsumerGroup:
    """Says what this service reads."""
    return ConsumerGroup(
        name="mltrainer-feature",
        instance=instance,
        database=database,
        subscriptions=(subscribe_batch(BarClosed, OnBarsClosed(record_bars)),),
    )
