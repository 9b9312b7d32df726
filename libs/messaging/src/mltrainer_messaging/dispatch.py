"""Hands the events of one partition to their handlers, in order, and decides about failures."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message
from mltrainer_common.clock import Clock
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError
from mltrainer_common.errors import RpcFailure
from mltrainer_common.traces import current_traceparent, parse_traceparent, use_traceparent
from opentelemetry.trace import Link, SpanKind

from mltrainer_messaging.broker import BrokerUnavailableError, EventPublisher
from mltrainer_messaging.dead_letters import DeadLetter
from mltrainer_messaging.envelope import EnvelopeError, Event, RawRecord, decode_event
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.progress import InFlight, NoProgress, ProgressStore, SqlProgress
from mltrainer_messaging.subscriptions import ConsumerGroup, Subscription, TransientError

_log = structlog.get_logger(__name__)

PROCESS_DEATH = "PROCESS_DEATH"
_OUTAGES = (DatabaseUnavailableError, BrokerUnavailableError)
_REPEATED = (DatabaseUnavailableError, BrokerUnavailableError, DatabaseConflictError)
_OUTAGE_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_TRANSIENT: tuple[type[Exception], ...] = (TransientError, DatabaseConflictError, TimeoutError)
_TRANSIENT_CODES = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED})

Received = tuple[RawRecord, Event[Message]]
Sleep = Callable[[float], Awaitable[None]]


class Dispatcher:
    """Holds what all partitions of a consumer group share."""

    def __init__(
        self,
        group: ConsumerGroup,
        publisher: EventPublisher,
        instruments: EventInstruments,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.group = group
        self.progress: ProgressStore = group.progress or (
            NoProgress() if group.database is None else SqlProgress(group.database, group.name)
        )
        self._publisher = publisher
        self._instruments = instruments
        self._clock = clock
        self._sleep = sleep
        self._by_topic = {item.topic.name: item for item in group.subscriptions}
        if len(self._by_topic) != len(group.subscriptions):
            raise ValueError(f"consumer group {group.name} subscribes to one event type twice")

    async def deliver(self, records: Sequence[RawRecord]) -> None:
        """Handles records of one partition, in order; returns when each took effect or is a dead letter."""
        subscription = self._by_topic[records[0].topic]
        types = {subscription.message_type.DESCRIPTOR.full_name: subscription.message_type}
        received: dict[str, Received] = {}
        for record in records:
            try:
                event = decode_event(record, types)
            except EnvelopeError as error:
                await self.give_up(record, 0, error.fault, error.detail)
            else:
                # A repetition within the batch is dropped here: a batch handler sees each id once.
                received.setdefault(event.id, (record, event))
        items = list(received.values())
        size = len(items) if subscription.is_batch else 1
        for start in range(0, len(items), max(size, 1)):
            await self._handle(subscription, items[start : start + size])

    async def outlast(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """Repeats an action of our own until database and broker are back."""
        attempt = 0
        while True:
            try:
                return await action()
            except _REPEATED as error:
                attempt += 1
                _log.warning("consumer_waits", consumer=self.group.name, attempt=attempt, error=str(error))
                await self._pause(attempt)

    async def give_up(self, record: RawRecord, attempts: int, cause: str, detail: str) -> None:
        """Publishes a dead letter, waiting for the broker as long as it takes."""
        letter = DeadLetter(
            cause=cause,
            detail=detail,
            consumer=self.group.name,
            handler=self._by_topic[record.topic].name,
            attempts=attempts,
            time=self._clock.now(),
            traceparent=current_traceparent() or "",
            record=record,
        )
        await self.outlast(lambda: self._publisher.publish([letter.to_record()]))
        self._instruments.consumed.labels(self.group.name, record.topic, "dead_lettered").inc()
        _log.error(
            "event_dead_lettered", topic=record.topic, offset=record.offset, cause=cause, detail=detail
        )

    async def _handle(self, subscription: Subscription, received: Sequence[Received]) -> None:
        topic = subscription.topic.name
        attempt, started_s = 0, time.monotonic()
        while True:
            attempt += 1
            try:
                with self._observed(subscription, [event for _, event in received]):
                    await subscription.handle([event for _, event in received])
            except Exception as error:  # noqa: BLE001 - the border at which any failure becomes a decision
                elapsed_s = time.monotonic() - started_s
                may_retry = self._may_retry(error, attempt, elapsed_s, is_alone=len(received) == 1)
                self._instruments.failures.labels(self.group.name, topic, type(error).__name__).inc()
                _log.warning("event_handler_failed", topic=topic, attempt=attempt, exc_info=not may_retry)
                if not may_retry:
                    await self._settle(subscription, received, attempt, error)
                    return
                await self._pause(attempt)
            else:
                self._instruments.consumed.labels(self.group.name, topic, "handled").inc(len(received))
                return

    def _may_retry(self, error: Exception, attempt: int, elapsed_s: float, *, is_alone: bool) -> bool:
        policy = self.group.failures
        code = error.code if isinstance(error, RpcFailure) else None
        if isinstance(error, _OUTAGES) or code in _OUTAGE_CODES:
            # No event is to blame for an outage: the partition waits.
            return True
        if isinstance(error, _TRANSIENT + self.group.transient_errors) or code in _TRANSIENT_CODES:
            return elapsed_s < policy.transient_limit_s
        return is_alone and attempt < policy.max_attempts

    async def _settle(
        self, subscription: Subscription, received: Sequence[Received], attempts: int, error: Exception
    ) -> None:
        if len(received) > 1:
            for item in received:
                await self._handle(subscription, [item])
            return
        record, event = received[0]
        with use_traceparent(event.traceparent):
            await self.give_up(record, attempts, type(error).__name__, str(error))

    @contextmanager
    def _observed(self, subscription: Subscription, events: Sequence[Event[Message]]) -> Iterator[None]:
        topic, first, is_batch = subscription.topic.name, events[0], subscription.is_batch
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(first.partition),
            "messaging.consumer.group.name": self.group.name,
            "messaging.batch.message_count": len(events),
            "messaging.message.id": first.id,
        }
        # One event continues its trace; a batch is a trace of its own, linked to those of its events.
        parents = (parse_traceparent(event.traceparent or "") for event in events if is_batch)
        links = [Link(parent) for parent in parents if parent is not None]
        with (
            use_traceparent(None if is_batch else first.traceparent),
            self._instruments.tracer.start_as_current_span(
                f"process {topic}", kind=SpanKind.CONSUMER, attributes=attributes, links=links
            ),
            structlog.contextvars.bound_contextvars(event_id=first.id, topic=topic),
            self._instruments.handler_seconds.labels(self.group.name, topic).time(),
        ):
            yield

    async def _pause(self, attempt: int) -> None:
        policy = self.group.failures
        bound_s = min(policy.first_backoff_s * 2 ** min(attempt - 1, 20), policy.max_backoff_s)
        await self._sleep(random.uniform(0.5, 1.0) * bound_s)  # noqa: S311 - jitter


class PartitionDispatcher:
    """Handles the batches of one partition while it is assigned, carefully where a predecessor died."""

    def __init__(self, dispatcher: Dispatcher, topic: str, partition: int) -> None:
        self._dispatcher = dispatcher
        self._topic = topic
        self._partition = partition
        self._unfinished: InFlight | None = None
        self._is_loaded = False

    async def handle(self, records: Sequence[RawRecord]) -> int:
        """Handles the first records of a batch and returns how many: their offsets may now be committed.

        That is all of them, but one alone where a predecessor died: its completion must not be forgotten.
        """
        if not self._is_loaded:
            self._unfinished = await self._dispatcher.outlast(self._load)
            self._is_loaded = True
        if self._unfinished is not None and records[0].offset <= self._unfinished.last_offset:
            await self._handle_carefully(records[0], self._unfinished.begin(records[0].offset))
            return 1
        self._unfinished = None
        await self._save(InFlight(records[0].offset, records[-1].offset))
        await self._dispatcher.deliver(records)
        return len(records)

    async def _handle_carefully(self, record: RawRecord, progress: InFlight) -> None:
        self._unfinished = progress
        await self._save(progress)
        deaths = progress.attempts_of(record.offset) - 1
        if deaths >= self._dispatcher.group.failures.max_process_deaths:
            detail = f"the process died {deaths} times while handling it"
            await self._dispatcher.give_up(record, deaths, PROCESS_DEATH, detail)
        else:
            await self._dispatcher.deliver([record])

    async def _load(self) -> InFlight | None:
        return await self._dispatcher.progress.load(self._topic, self._partition)

    async def _save(self, progress: InFlight) -> None:
        store = self._dispatcher.progress
        await self._dispatcher.outlast(lambda: store.save(self._topic, self._partition, progress))
