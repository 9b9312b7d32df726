"""Handles exposures and outcomes, many in one transaction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from mltrainer.experiment.v1.events_pb2 import ExposureLogged, OutcomeReported
from mltrainer_common.database import Database
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.subscriptions import ConsumerGroup, subscribe_batch

from mltrainer_experiment.application.record_observations import (
    Reception,
    RecordExposuresHandler,
    RecordOutcomesHandler,
)
from mltrainer_experiment.wire.events import to_exposure, to_outcome

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OnExposureLogged:
    """Counts exposures that others have logged."""

    record: RecordExposuresHandler

    async def __call__(self, events: Sequence[Event[ExposureLogged]]) -> None:
        """Handles a batch."""
        received = await self.record([to_exposure(event.id, event.message) for event in events])
        _report("exposures_received", received)


@dataclass(frozen=True, slots=True)
class OnOutcomeReported:
    """Counts the outcomes of experiments."""

    record: RecordOutcomesHandler

    async def __call__(self, events: Sequence[Event[OutcomeReported]]) -> None:
        """Handles a batch."""
        decoded = (to_outcome(event.id, event.message) for event in events)
        if reports := [report for report in decoded if report is not None]:
            _report("outcomes_received", await self.record(reports))


def _report(event: str, received: Counter[Reception]) -> None:
    _log.info(event, **{reception.lower(): count for reception, count in received.items()})


def consumer_group(
    slug: str,
    instance: str,
    database: Database,
    exposures: RecordExposuresHandler,
    outcomes: RecordOutcomesHandler,
) -> ConsumerGroup:
    """Describes everything this service consumes."""
    return ConsumerGroup(
        name=f"mltrainer-{slug}",
        instance=instance,
        database=database,
        subscriptions=(
            subscribe_batch(ExposureLogged, OnExposureLogged(exposures)),
            subscribe_batch(OutcomeReported, OnOutcomeReported(outcomes)),
        ),
    )
