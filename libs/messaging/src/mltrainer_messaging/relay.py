"""Publishes what outboxes hold: in order, at least once, by one relay per database at a time."""

from collections.abc import Sequence

from google.protobuf.message import Message
from mltrainer_common.database import Database

from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.outbox import OutboxSignal


class OutboxRelay:
    """Moves rows from the outbox to the broker; several relays may run, the holder of the lease row works.

    `events` are the types this service publishes: their topics are created at the start.
    """

    def __init__(
        self,
        database: Database,
        broker: EventBroker,
        signal: OutboxSignal,
        events: Sequence[type[Message]] = (),
        *,
        service: str,
        poll_s: float = 0.5,
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Relays until cancelled; survives the absence of broker and database."""
        raise NotImplementedError

    async def relay_once(self) -> int:
        """Publishes one batch and returns how many events; 0 when there is nothing or another relay holds the lease."""
        raise NotImplementedError
