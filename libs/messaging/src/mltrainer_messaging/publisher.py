"""Publishes events from processes without a database: SDK producers and tools."""

from google.protobuf.message import Message

from mltrainer_messaging.broker import EventBroker


class DirectPublisher:
    """Encodes and publishes at once, with the current trace; a crash before `publish` returns may lose the event."""

    def __init__(self, broker: EventBroker, source: str) -> None:
        raise NotImplementedError

    async def publish(self, message: Message, event_id: str | None = None) -> str:
        """Publishes one event and returns its id; pass the same id again to make a retry harmless."""
        raise NotImplementedError
