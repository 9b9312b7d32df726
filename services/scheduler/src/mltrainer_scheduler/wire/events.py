"""Translates events: those of others to commands, our own to their contracts."""

from datetime import UTC, datetime
from typing import assert_never

from google.protobuf.message import Message
from mltrainer.feature.v1 import events_pb2 as feature_events
from mltrainer.scheduler.v1 import events_pb2, resources_pb2
from mltrainer.trainer.v1 import events_pb2 as trainer_events
from mltrainer.types.v1 import types_pb2

from mltrainer_scheduler.application.accept_trainings import AcceptTraining
from mltrainer_scheduler.application.conclude_attempt import AttemptFailure, AttemptSuccess
from mltrainer_scheduler.application.record_progress import AttemptProgress
from mltrainer_scheduler.domain.catalogue import CatalogueEntry, TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.cluster import NodeReport, offered
from mltrainer_scheduler.domain.events import (
    AllocationEnded,
    AllocationStarted,
    ComputationAudited,
    SchedulerEvent,
    TrainingCompleted,
    TrainingDeduplicated,
    TrainingFailed,
    TrainingPlaced,
    TrainingPreempted,
    TrainingQueued,
    TrainingRejected,
)
from mltrainer_scheduler.domain.reuse import ResultDigests
from mltrainer_scheduler.domain.training import Training
from mltrainer_scheduler.wire.resources import from_allocation, from_shares, from_violations
from mltrainer_scheduler.wire.scores import scores_digest
from mltrainer_scheduler.wire.specification import from_spec, to_spec, to_target_kind
from mltrainer_scheduler.wire.times import to_time, to_timestamp

PUBLISHED = (
    events_pb2.TrainingRejected,
    events_pb2.TrainingQueued,
    events_pb2.TrainingPlaced,
    events_pb2.TrainingPreempted,
    events_pb2.TrainingDeduplicated,
    events_pb2.TrainingCompleted,
    events_pb2.TrainingFailed,
    events_pb2.AllocationStarted,
    events_pb2.AllocationEnded,
    events_pb2.ComputationAudited,
)
_NO_VERDICT = "UNSPECIFIED"
_VERDICTS: dict[int, str] = {
    number: name.removeprefix("VERDICT_") for name, number in types_pb2.Verdict.items()
}
_NEVER = datetime.min.replace(tzinfo=UTC)


def to_acceptance(
    message: events_pb2.TrainingRequested, event_id: str, traceparent: str | None
) -> AcceptTraining:
    """Reads a request."""
    return AcceptTraining(event_id, message.request_id, to_spec(message), traceparent)


def to_success(message: trainer_events.AttemptSucceeded, event_id: str) -> AttemptSuccess:
    """Reads the good end of an attempt."""
    return AttemptSuccess(
        event_id,
        message.training,
        message.fencing_token,
        message.manifest_digest,
        message.computation_key,
        _VERDICTS.get(message.result.verdict, _NO_VERDICT),
        ResultDigests(message.result.canonical_digest, scores_digest(message.result)),
        message.result.cpu_seconds + message.result.reuse.saved_cpu_seconds,
    )


def to_failure(message: trainer_events.AttemptFailed, event_id: str) -> AttemptFailure:
    """Reads the bad end of an attempt."""
    return AttemptFailure(
        event_id,
        message.training,
        message.fencing_token,
        message.reason or "UNKNOWN",
        message.message,
        message.retryable,
    )


def to_progress(
    message: trainer_events.AttemptStarted | trainer_events.AttemptProgressed,
) -> AttemptProgress:
    """Reads how far an attempt is."""
    if isinstance(message, trainer_events.AttemptStarted):
        return AttemptProgress(message.allocation, message.fencing_token, message.revision, "start")
    return AttemptProgress(
        message.allocation,
        message.fencing_token,
        message.revision,
        message.stage,
        message.progress,
        to_time(message.checkpoint_time) if message.HasField("checkpoint_time") else None,
    )


def to_node(message: trainer_events.NodeReported) -> NodeReport:
    """Reads what a node offers; one that does not say when is taken for silent."""
    capacity = message.capacity
    return NodeReport(
        name=message.node,
        total=offered(capacity.cpus, capacity.memory_bytes, capacity.gpus),
        gpu_type=capacity.gpu_type,
        schedulable=message.schedulable,
        spot=message.spot,
        zone=message.zone,
        revision=message.revision,
        seen_time=to_time(message.report_time) or _NEVER,
    )


def to_release(message: trainer_events.TrainerReleased) -> TrainerRelease:
    """Reads what a trainer executes."""
    entries = tuple(
        CatalogueEntry(
            entry.id,
            entry.family,
            frozenset(to_target_kind(kind) for kind in entry.target_kinds),
            entry.digest,
            entry.unavailable_reason,
        )
        for entry in message.catalogue_entries
    )
    return TrainerRelease(
        message.trainer, message.code_digest, message.environment_digest, entries, message.revision
    )


def to_view(message: feature_events.ViewRevised) -> ViewVersion:
    """Reads the state of a feature view."""
    return ViewVersion(
        message.feature_view,
        message.version,
        message.definition_digest,
        message.data_revision,
        message.revision,
    )


def to_message(event: SchedulerEvent) -> Message:
    """Writes an event of ours."""
    match event:
        case AllocationStarted() | AllocationEnded() | TrainingPlaced() | TrainingPreempted():
            return _about_allocation(event)
        case ComputationAudited():
            return _audited(event)
        case _:
            return _about_training(event)


def _about_training(
    event: TrainingRejected | TrainingQueued | TrainingDeduplicated | TrainingCompleted | TrainingFailed,
) -> Message:
    match event:
        case TrainingRejected(training=training):
            return _rejected(training)
        case TrainingQueued(training=training):
            return _queued(training)
        case TrainingDeduplicated():
            return _deduplicated(event)
        case TrainingCompleted(training=training):
            return _completed(training)
        case TrainingFailed(training=training):
            return _failed(training)
        case _:
            assert_never(event)


def _about_allocation(
    event: AllocationStarted | AllocationEnded | TrainingPlaced | TrainingPreempted,
) -> Message:
    match event:
        case TrainingPlaced():
            return _placed(event)
        case TrainingPreempted():
            return _preempted(event)
        case AllocationStarted():
            return _started(event)
        case AllocationEnded():
            return _ended(event)
        case _:
            assert_never(event)


def _rejected(training: Training) -> events_pb2.TrainingRejected:
    return events_pb2.TrainingRejected(
        training=training.name,
        request_id=training.request_id,
        study=training.spec.study,
        revision=training.revision,
        reason=training.reason,
        violations=from_violations(training),
    )


def _queued(training: Training) -> events_pb2.TrainingQueued:
    return events_pb2.TrainingQueued(
        training=training.name,
        request_id=training.request_id,
        study=training.spec.study,
        revision=training.revision,
        reason=training.reason,
        attempt_count=training.attempt_count,
    )


def _placed(event: TrainingPlaced) -> events_pb2.TrainingPlaced:
    training = event.training
    return events_pb2.TrainingPlaced(
        training=training.name,
        request_id=training.request_id,
        study=training.spec.study,
        revision=training.revision,
        attempt=training.attempt_count,
        allocation=from_allocation(event.allocation, training),
        computation_key=training.computation_key,
        spec=_to_execute(training),
        as_of_closed_bar=to_timestamp(event.closed_as_of),
        shares=from_shares(event.shares),
    )


def _to_execute(training: Training) -> resources_pb2.TrainingSpec:
    spec = from_spec(training.spec)
    spec.recompute |= bool(training.audit_of)
    return spec


def _preempted(event: TrainingPreempted) -> events_pb2.TrainingPreempted:
    training = event.training
    return events_pb2.TrainingPreempted(
        training=training.name,
        request_id=training.request_id,
        study=training.spec.study,
        revision=training.revision,
        allocation=event.allocation.name,
        reason=event.allocation.end_reason,
    )


def _deduplicated(event: TrainingDeduplicated) -> events_pb2.TrainingDeduplicated:
    training = event.training
    return events_pb2.TrainingDeduplicated(
        training=training.name,
        request_id=training.request_id,
        study=training.spec.study,
        revision=training.revision,
        duplicate_of=training.duplicate_of,
        computation_key=training.computation_key,
        manifest_digest=training.manifest_digest,
        saved_cpu_seconds=event.worth.cpu_seconds,
        saved_cost_usd=event.worth.cost_usd,
    )


def _audited(event: ComputationAudited) -> events_pb2.ComputationAudited:
    training = event.training
    return events_pb2.ComputationAudited(
        training=training.name,
        audited_training=training.audit_of,
        study=training.spec.study,
        computation_key=training.computation_key,
        known_digest=event.known.model,
        found_digest=event.found.model,
        known_scores_digest=event.known.scores,
        found_scores_digest=event.found.scores,
        equal=event.is_equal,
        revision=training.revision,
    )


def _completed(training: Training) -> events_pb2.TrainingCompleted:
    return events_pb2.TrainingCompleted(
        training=training.name,
        request_id=training.request_id,
        study=training.spec.study,
        revision=training.revision,
        attempt=training.attempt_count,
        manifest_digest=training.manifest_digest,
        computation_key=training.computation_key,
        verdict=types_pb2.Verdict.Value(f"VERDICT_{training.verdict}"),
    )


def _failed(training: Training) -> events_pb2.TrainingFailed:
    return events_pb2.TrainingFailed(
        training=training.name,
        request_id=training.request_id,
        study=training.spec.study,
        revision=training.revision,
        reason=training.reason,
        message=training.message,
        attempt_count=training.attempt_count,
    )


def _started(event: AllocationStarted) -> events_pb2.AllocationStarted:
    training = event.training
    return events_pb2.AllocationStarted(
        training=training.name,
        allocation=from_allocation(event.allocation, training),
        study=training.spec.study,
        owner=training.spec.owner,
        spot=event.allocation.share.spot,
        revision=training.revision,
    )


def _ended(event: AllocationEnded) -> events_pb2.AllocationEnded:
    return events_pb2.AllocationEnded(
        training=event.training.name,
        allocation=from_allocation(event.allocation, event.training),
        revision=event.training.revision,
    )
