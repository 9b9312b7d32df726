"""Declares what a service needs from a broker, so that its tests run without Kafka."""

from collections.abc import Sequence
from typing import Protocol

from mltrainer_messaging.envelope import OutgoingEvent
from mltrainer_messaging.subscriptions import ConsumerGroup
from mltrainer_messaging.topics import Topic


class EventPublisher(Protocol):
    """Publishes encoded events."""

    async def publish(self, events: Sequence[OutgoingEvent]) -> None:
        """Publishes in order and returns when the broker has stored all of them.

        Raises:
            BrokerUnavailableError: At least one was perhaps not stored; publishing all again is safe.
        """
        ...


class EventBroker(Protocol):
    """Publishes and delivers events."""

    @property
    def publisher(self) -> EventPublisher:
        """Returns the publisher; it connects at its first use."""
        ...

    async def consume(self, group: ConsumerGroup) -> None:
        """Delivers events to the group's handlers until cancelled; survives the absence of the broker."""
        ...

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        """Creates the topics that are missing, and their dead-letter topics."""
        ...


class BrokerUnavailableError(Exception):
    """The broker cannot be reached or refused for now."""
