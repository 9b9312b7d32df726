"""Takes bars from events."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer_common.database import Database
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.progress import ProgressStore
from mltrainer_messaging.subscriptions import ConsumerGroup, TransientError, subscribe_batch

from mltrainer_feature.application.record_bars import RecordBarsHandler
from mltrainer_feature.wire.events import to_received_bars

# The bars of one close arrive within milliseconds; a transaction for each partition costs more than waiting.
_GATHER_S = 0.012
_log = structlog.get_logger()


@dataclass(slots=True)
class _Batch:
    """Bars of several partitions that share one transaction."""

    events: list[Event[BarClosed]] = field(default_factory=list)
    started_s: float = 0.0
    is_taken: bool = False
    error: Exception | None = None


class OnBarsClosed:
    """Stores bars; batches that arrive while a transaction runs share the next one.

    A day's bars come from every partition at once, and most of the cost is by transaction, not by bar: so a
    transaction begins `gather_s` after its first bar at the earliest, for those that come a moment later.
    Nobody returns before the transaction that holds its events has committed, so offsets follow effects.
    """

    def __init__(self, record_bars: RecordBarsHandler, gather_s: float = 0.0) -> None:
        self._record_bars = record_bars
        self._gather_s = gather_s
        self._forming = _Batch()
        self._lock = asyncio.Lock()

    async def __call__(self, events: Sequence[Event[BarClosed]]) -> None:
        batch = self._forming
        if not batch.events:
            batch.started_s = time.perf_counter()
        batch.events.extend(events)
        async with self._lock:
            if not batch.is_taken:
                waited_s = time.perf_counter() - batch.started_s
                if waited_s < self._gather_s:
                    await asyncio.sleep(self._gather_s - waited_s)
                self._forming = _Batch()
                await self._record(batch)
        if batch.error is not None:
            raise batch.error

    async def _record(self, batch: _Batch) -> None:
        batch.is_taken = True
        # Stands until the commit, so that whoever waits fails too when this is cancelled.
        batch.error = TransientError("the transaction shared with other partitions did not commit")
        try:
            recorded = await self._record_bars(to_received_bars(batch.events))
        except Exception as error:  # noqa: BLE001 - every member of the batch raises it
            batch.error = error
            return
        batch.error = None
        for refusal in recorded.refusals:
            _log.warning("bar_refused", symbol=refusal.symbol, reason=refusal.reason, field=refusal.field)


def consumer_group(
    instance: str, database: Database, record_bars: RecordBarsHandler, progress: ProgressStore | None = None
) -> ConsumerGroup:
    """Says what this service reads."""
    return ConsumerGroup(
        name="mltrainer-feature",
        instance=instance,
        database=database,
        progress=progress,
        subscriptions=(subscribe_batch(BarClosed, OnBarsClosed(record_bars, _GATHER_S)),),
    )
