"""Publishes events from processes without a database: SDK producers and tools."""

from google.protobuf.message import Message
from mltrainer_common.clock import Clock, SystemClock
from mltrainer_common.ids import new_id
from mltrainer_common.traces import current_traceparent

from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.envelope import encode_event
from mltrainer_messaging.topics import topic_of


class DirectPublisher:
    """Encodes and publishes at once; a crash before `publish` returns may lose the event."""

    def __init__(self, broker: EventBroker, source: str, clock: Clock | None = None) -> None:
        self._broker = broker
        self._source = source
        self._clock = clock or SystemClock()

    async def publish(self, message: Message, event_id: str | None = None) -> str:
        """Publishes one event and returns its id; pass the same id again to make a retry harmless.

        Raises:
            BrokerUnavailableError: The event was perhaps not stored.
            EventTooLargeError: The event exceeds 1 MiB.
        """
        event_id = event_id or new_id()
        event = encode_event(
            message,
            source=self._source,
            event_id=event_id,
            time=self._clock.now(),
            traceparent=current_traceparent(),
        )
        await self._broker.ensure_topics([topic_of(message)])
        await self._broker.publisher.publish([event])
        return event_id
