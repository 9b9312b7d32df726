"""Handles the events of attempts."""

from dataclasses import dataclass

import structlog
from mltrainer.trainer.v1.events_pb2 import AttemptFailed, AttemptStarted, AttemptSucceeded
from mltrainer_common.database import Database
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.subscriptions import ConsumerGroup, subscribe

from mltrainer_registry.application.create_version import CreateVersionHandler
from mltrainer_registry.application.observe_attempt import ObserveAttemptHandler
from mltrainer_registry.wire import events as wire

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OnAttemptStarted:
    """Refuses what earlier attempts of the training deliver from now on."""

    observe: ObserveAttemptHandler

    async def __call__(self, event: Event[AttemptStarted]) -> None:
        """Handles one event."""
        _ = await self.observe(wire.started(event.id, event.message))


@dataclass(frozen=True, slots=True)
class OnAttemptFailed:
    """Refuses what this attempt delivers from now on."""

    observe: ObserveAttemptHandler

    async def __call__(self, event: Event[AttemptFailed]) -> None:
        """Handles one event."""
        _ = await self.observe(wire.failed(event.id, event.message))


@dataclass(frozen=True, slots=True)
class OnAttemptSucceeded:
    """Creates the version of a training and moves the alias it proposes where the gate passes."""

    create: CreateVersionHandler

    async def __call__(self, event: Event[AttemptSucceeded]) -> None:
        """Handles one event."""
        outcome, version = await self.create(wire.to_create_version(event.id, event.message))
        _log.info(
            "attempt_delivered",
            outcome=outcome,
            training=event.message.training,
            version=str(version or ""),
        )


def consumer_group(
    slug: str,
    instance: str,
    database: Database,
    create: CreateVersionHandler,
    observe: ObserveAttemptHandler,
) -> ConsumerGroup:
    """Describes everything the registry consumes."""
    return ConsumerGroup(
        name=f"mltrainer-{slug}",
        instance=instance,
        database=database,
        subscriptions=(
            subscribe(AttemptStarted, OnAttemptStarted(observe)),
            subscribe(AttemptFailed, OnAttemptFailed(observe)),
            subscribe(AttemptSucceeded, OnAttemptSucceeded(create)),
        ),
    )
