"""Writes the trainer's events."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from mltrainer.scheduler.v1.resources_pb2 import NodeCapacity, TrainingSpec
from mltrainer.trainer.v1 import events_pb2 as contract
from mltrainer.trainer.v1.resources_pb2 import AttemptResult, CatalogueEntry, Lineage
from mltrainer.trainer.v1.resources_pb2 import SearchProgress as SearchMessage
from mltrainer.types.v1.types_pb2 import TargetKind

from mltrainer_trainer.domain.attempt import (
    Attempt,
    AttemptFailed,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
    UsageSampled,
)
from mltrainer_trainer.domain.checkpoints import SearchProgress
from mltrainer_trainer.domain.release import NodeReport, Release, ReleasedModel

PUBLISHED: tuple[type[Message], ...] = (
    contract.TrainerReleased,
    contract.NodeReported,
    contract.AttemptStarted,
    contract.AttemptProgressed,
    contract.AttemptSucceeded,
    contract.AttemptFailed,
    contract.UsageSampled,
)
"""Every event this service publishes."""


def to_event(event: Any) -> Message:
    """Turns a domain event into its contract message."""
    encode: dict[type, Callable[[Any], Message]] = {
        AttemptStarted: lambda it: _started(it.attempt),
        AttemptProgressed: lambda it: _progressed(it.attempt),
        AttemptSucceeded: lambda it: _succeeded(it.attempt),
        AttemptFailed: lambda it: _failed(it.attempt),
        UsageSampled: lambda it: _sampled(it.attempt),
        Release: _released,
        NodeReport: _reported,
    }
    return encode[type(event)](event)


def timestamp(time: datetime | None) -> Timestamp | None:
    """Writes a time; an absent one stays absent."""
    if time is None:
        return None
    written = Timestamp()
    written.FromDatetime(time)
    return written


def from_search(search: SearchProgress | None) -> SearchMessage | None:
    """Writes how far a search is; an absent one stays absent."""
    if search is None:
        return None
    return SearchMessage(
        trials_done=search.trials_done,
        trials_total=search.trials_total,
        best_objective=search.best_objective,
    )


def _identity(attempt: Attempt) -> dict[str, Any]:
    placement = attempt.placement
    return {
        "training": placement.training,
        "attempt": placement.number,
        "allocation": placement.allocation,
        "fencing_token": placement.fencing_token,
        "revision": attempt.revision,
    }


def _started(attempt: Attempt) -> contract.AttemptStarted:
    return contract.AttemptStarted(
        **_identity(attempt), node=attempt.placement.node, start_time=timestamp(attempt.start_time)
    )


def _progressed(attempt: Attempt) -> contract.AttemptProgressed:
    return contract.AttemptProgressed(
        **_identity(attempt),
        progress=attempt.progress,
        stage=attempt.stage,
        search=from_search(attempt.search),
        checkpoint_time=timestamp(attempt.checkpoint_time),
    )


def _succeeded(attempt: Attempt) -> contract.AttemptSucceeded:
    success = attempt.success
    if success is None:
        raise ValueError(f"{attempt.name} has succeeded without a result")
    return contract.AttemptSucceeded(
        **_identity(attempt),
        manifest_digest=success.manifest_digest,
        result=AttemptResult.FromString(success.result),
        computation_key=success.computation_key,
        spec=TrainingSpec.FromString(attempt.placement.spec),
        lineage=Lineage.FromString(success.lineage),
    )


def _failed(attempt: Attempt) -> contract.AttemptFailed:
    failure = attempt.failure
    if failure is None:
        raise ValueError(f"{attempt.name} has failed without a reason")
    return contract.AttemptFailed(
        **_identity(attempt), reason=failure.reason, message=failure.message, retryable=failure.retryable
    )


def _sampled(attempt: Attempt) -> contract.UsageSampled:
    usage = attempt.usage
    if usage is None:
        raise ValueError(f"{attempt.name} was sampled without a sample")
    return contract.UsageSampled(
        **_identity(attempt),
        cpu_seconds=usage.cpu_seconds,
        memory_bytes=usage.memory_bytes,
        sample_time=timestamp(usage.sample_time),
    )


def _released(release: Release) -> contract.TrainerReleased:
    return contract.TrainerReleased(
        trainer=release.trainer,
        code_digest=release.code.code_digest,
        environment_digest=release.code.environment_digest,
        catalogue_entries=[to_catalogue_entry(model) for model in release.models],
        revision=release.revision,
    )


def to_catalogue_entry(model: ReleasedModel) -> CatalogueEntry:
    """Writes one model of the catalogue."""
    return CatalogueEntry(
        id=model.id,
        family=model.family,
        target_kinds=[TargetKind.Value(f"TARGET_KIND_{kind}") for kind in model.target_kinds],
        digest=model.digest,
        unavailable_reason=model.unavailable_reason,
        task=CatalogueEntry.Task.Value(f"TASK_{model.task}"),
        serves_row_by_row=model.serves_row_by_row,
        extra=model.extra,
        min_rows=model.min_rows,
    )


def _reported(report: NodeReport) -> contract.NodeReported:
    return contract.NodeReported(
        node=report.node,
        capacity=NodeCapacity(
            cpus=report.cpus, memory_bytes=report.memory_bytes, gpus=report.gpus, gpu_type=report.gpu_type
        ),
        schedulable=report.schedulable,
        revision=report.revision,
        report_time=timestamp(report.report_time),
        zone=report.zone,
        spot=report.spot,
    )
