"""Handles events: decodes, calls one use case, wakes the placement."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from mltrainer.feature.v1.events_pb2 import ViewRevised
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer.trainer.v1.events_pb2 import (
    AttemptFailed,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
    NodeReported,
    TrainerReleased,
)
from mltrainer_common.database import Database
from mltrainer_common.telemetry import use_traceparent
from mltrainer_common.traces import format_traceparent
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.subscriptions import ConsumerGroup, subscribe, subscribe_batch
from opentelemetry.trace import Span, SpanKind, Tracer

from mltrainer_scheduler.application.accept_trainings import AcceptTrainingsHandler
from mltrainer_scheduler.application.conclude_attempt import (
    AttemptFailure,
    AttemptSuccess,
    ConcludeAttemptHandler,
    Conclusion,
)
from mltrainer_scheduler.application.record_progress import RecordProgressHandler
from mltrainer_scheduler.application.replicate import ReplicateHandler
from mltrainer_scheduler.entrypoints.instruments import SchedulerInstruments
from mltrainer_scheduler.entrypoints.loops import Wake
from mltrainer_scheduler.wire import events as wire

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OnTrainingRequested:
    """Takes requests in, many in one transaction, each under its own trace."""

    accept: AcceptTrainingsHandler
    wake: Wake
    instruments: SchedulerInstruments
    tracer: Tracer

    async def __call__(self, events: Sequence[Event[TrainingRequested]]) -> None:
        """Handles a batch."""
        spans = [self._span(event) for event in events]
        try:
            accepted = await self.accept(
                [
                    wire.to_acceptance(event.message, event.id, format_traceparent(span.get_span_context()))
                    for event, span in zip(events, spans, strict=True)
                ]
            )
        finally:
            for span in spans:
                span.end()
        self.instruments.count_accepted(accepted)
        for item in accepted:
            training = item.training
            _log.info(
                "training_requested",
                outcome=item.outcome,
                request_id=item.request_id,
                training=training.name if training else "",
                reason=training.reason if training else "",
            )
        self.wake.notify()

    def _span(self, event: Event[TrainingRequested]) -> Span:
        with use_traceparent(event.traceparent):
            return self.tracer.start_span(
                "accept_training",
                kind=SpanKind.CONSUMER,
                attributes={"mltrainer.request_id": event.message.request_id},
            )


@dataclass(frozen=True, slots=True)
class OnAttemptEnded:
    """Takes the ends of attempts."""

    conclude: ConcludeAttemptHandler
    wake: Wake
    instruments: SchedulerInstruments

    async def succeeded(self, event: Event[AttemptSucceeded]) -> None:
        """Handles a good end."""
        await self._conclude(wire.to_success(event.message, event.id))

    async def failed(self, event: Event[AttemptFailed]) -> None:
        """Handles a bad end."""
        await self._conclude(wire.to_failure(event.message, event.id))

    async def _conclude(self, report: AttemptSuccess | AttemptFailure) -> None:
        conclusion = await self.conclude(report)
        self.instruments.reports.labels(conclusion).inc()
        log = _log.warning if conclusion is Conclusion.STALE else _log.info
        log(
            "attempt_ended",
            training=report.training,
            fencing_token=report.fencing_token,
            conclusion=conclusion,
            reason=report.reason if isinstance(report, AttemptFailure) else "SUCCEEDED",
        )
        self.wake.notify()


@dataclass(frozen=True, slots=True)
class OnAttemptProgress:
    """Remembers how far attempts are."""

    record: RecordProgressHandler

    async def started(self, events: Sequence[Event[AttemptStarted]]) -> None:
        """Handles a batch of starts."""
        await self.record([wire.to_progress(event.message) for event in events])

    async def progressed(self, events: Sequence[Event[AttemptProgressed]]) -> None:
        """Handles a batch of reports."""
        await self.record([wire.to_progress(event.message) for event in events])


@dataclass(frozen=True, slots=True)
class OnAnnouncement:
    """Keeps the tables that the scheduler replicates."""

    replicate: ReplicateHandler
    wake: Wake

    async def nodes(self, events: Sequence[Event[NodeReported]]) -> None:
        """Handles a batch of reports."""
        if await self.replicate.nodes([wire.to_node(event.message) for event in events]):
            self.wake.notify()

    async def release(self, event: Event[TrainerReleased]) -> None:
        """Handles what a trainer executes."""
        if await self.replicate.release(wire.to_release(event.message)):
            _log.info("trainer_release_stored", trainer=event.message.trainer)
            self.wake.notify()

    async def views(self, events: Sequence[Event[ViewRevised]]) -> None:
        """Handles a batch of view states."""
        if await self.replicate.views([wire.to_view(event.message) for event in events]):
            self.wake.notify()


@dataclass(frozen=True, slots=True)
class EventHandlers:
    """Handles everything the scheduler reads."""

    requested: OnTrainingRequested
    ended: OnAttemptEnded
    progress: OnAttemptProgress
    announcement: OnAnnouncement


def consumer_group(instance: str, database: Database, handlers: EventHandlers) -> ConsumerGroup:
    """Lists what the scheduler reads."""
    return ConsumerGroup(
        name="mltrainer-scheduler",
        instance=instance,
        database=database,
        subscriptions=(
            subscribe_batch(TrainingRequested, handlers.requested),
            subscribe(AttemptSucceeded, handlers.ended.succeeded),
            subscribe(AttemptFailed, handlers.ended.failed),
            subscribe_batch(AttemptStarted, handlers.progress.started),
            subscribe_batch(AttemptProgressed, handlers.progress.progressed),
            subscribe_batch(NodeReported, handlers.announcement.nodes),
            subscribe(TrainerReleased, handlers.announcement.release),
            subscribe_batch(ViewRevised, handlers.announcement.views),
        ),
    )
