"""Handles the scheduler's events."""

from dataclasses import dataclass

import structlog
from mltrainer.scheduler.v1.events_pb2 import TrainingPlaced, TrainingPreempted
from mltrainer_common.telemetry import current_traceparent
from mltrainer_messaging.envelope import Event

from mltrainer_trainer.application.accept_placement import AcceptPlacementHandler
from mltrainer_trainer.application.preempt_attempt import PreemptAttemptHandler
from mltrainer_trainer.entrypoints.wakeup import Wakeup
from mltrainer_trainer.wire.placements import to_accept_placement, to_preempt_attempt

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OnTrainingPlaced:
    """Accepts a placement and wakes the supervision."""

    accept: AcceptPlacementHandler
    wakeup: Wakeup

    async def __call__(self, event: Event[TrainingPlaced]) -> None:
        """Handles one event."""
        command = to_accept_placement(event.message, event.id, current_traceparent() or event.traceparent)
        accepted = await self.accept(command)
        _log.info("placement_received", attempt=command.placement.attempt, accepted=accepted)
        self.wakeup.set()


@dataclass(frozen=True, slots=True)
class OnTrainingPreempted:
    """Ends an attempt and wakes the supervision."""

    preempt: PreemptAttemptHandler
    wakeup: Wakeup

    async def __call__(self, event: Event[TrainingPreempted]) -> None:
        """Handles one event."""
        await self.preempt(to_preempt_attempt(event.message, event.id))
        _log.info("preemption_received", allocation=event.message.allocation, reason=event.message.reason)
        self.wakeup.set()
