"""Handles what other services tell."""

from collections.abc import Sequence
from dataclasses import dataclass

from mltrainer.experiment.v1.events_pb2 import OutcomeReported
from mltrainer.registry.v1.events_pb2 import VersionCreated
from mltrainer.serving.v1.events_pb2 import PredictionLogged
from mltrainer_common.database import Database
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.subscriptions import ConsumerGroup, subscribe, subscribe_batch

from mltrainer_monitor.application.record import (
    RecordLabelsHandler,
    RecordPredictionsHandler,
    RecordVersionHandler,
)
from mltrainer_monitor.wire import events as wire


@dataclass(frozen=True, slots=True)
class EventHandlers:
    """Decodes events and hands them to their use cases."""

    record_version: RecordVersionHandler
    record_predictions: RecordPredictionsHandler
    record_labels: RecordLabelsHandler

    async def version(self, event: Event[VersionCreated]) -> None:
        """Handles a version."""
        await self.record_version(wire.to_new_version(event.id, event.message))

    async def predictions(self, events: Sequence[Event[PredictionLogged]]) -> None:
        """Handles a batch of calls."""
        await self.record_predictions([wire.to_logged_call(event.id, event.message) for event in events])

    async def outcomes(self, events: Sequence[Event[OutcomeReported]]) -> None:
        """Handles a batch of outcomes, of which labels matter here."""
        labels = [wire.to_label(event.id, event.message) for event in events]
        await self.record_labels([label for label in labels if label])


def consumer_group(instance: str, database: Database, handlers: EventHandlers) -> ConsumerGroup:
    """Lists what monitor reads."""
    return ConsumerGroup(
        name="mltrainer-monitor",
        instance=instance,
        database=database,
        subscriptions=(
            subscribe(VersionCreated, handlers.version),
            subscribe_batch(PredictionLogged, handlers.predictions),
            subscribe_batch(OutcomeReported, handlers.outcomes),
        ),
    )
