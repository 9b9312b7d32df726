"""Says what a consumer group reads, who handles it, and which errors are worth another attempt."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message
from mltrainer_common.database import Database

from mltrainer_messaging.envelope import Event
from mltrainer_messaging.progress import ProgressStore
from mltrainer_messaging.topics import Topic, topic_of

M = TypeVar("M", bound=Message)


class TransientError(Exception):
    """Raised by a handler for a failure that time may heal; the event is tried again in place."""


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """Bounds how often and how long one event is tried before it becomes a dead letter."""

    max_attempts: int = 3
    max_process_deaths: int = 5
    transient_limit_s: float = 120.0
    first_backoff_s: float = 0.05
    max_backoff_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """Binds an event type to its handler; make one with `subscribe` or `subscribe_batch`."""

    message_type: type[Message]
    handle: Callable[[Sequence[Event[Any]]], Awaitable[None]]
    name: str
    is_batch: bool

    @property
    def topic(self) -> Topic:
        """Returns the topic that is read."""
        return topic_of(self.message_type)


def subscribe(message_type: type[M], handler: Callable[[Event[M]], Awaitable[None]]) -> Subscription:
    """Has each event handled alone, in the order of its partition, under a span that continues its trace."""

    async def handle(events: Sequence[Event[M]]) -> None:
        for event in events:
            await handler(event)

    return Subscription(message_type, handle, _name(handler), is_batch=False)


def subscribe_batch(
    message_type: type[M], handler: Callable[[Sequence[Event[M]]], Awaitable[None]]
) -> Subscription:
    """Has up to a few hundred events of one partition handled together, in order; for high rates.

    A batch whose handler fails is handed over again one event at a time: a bad event takes no other with it.
    """
    return Subscription(message_type, handler, _name(handler), is_batch=True)


def _name(handler: Callable[..., Any]) -> str:
    return getattr(handler, "__qualname__", type(handler).__qualname__)


@dataclass(frozen=True, slots=True)
class ConsumerGroup:
    """Describes everything one service reads: one Kafka consumer group named like the service.

    `database` keeps the progress rows that find process-killing events (None: a process without a database),
    unless `progress` does.
    `transient_errors` adds the service's own error types that time may heal, such as a lost optimistic race.
    """

    name: str
    subscriptions: tuple[Subscription, ...]
    database: Database | None = None
    instance: str = "0"
    transient_errors: tuple[type[Exception], ...] = ()
    failures: FailurePolicy = field(default_factory=FailurePolicy)
    max_batch: int = 500
    progress: ProgressStore | None = None
