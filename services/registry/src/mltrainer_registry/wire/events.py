"""Translates events: those of attempts into commands, changes of the registry into events."""

from google.protobuf.message import Message
from mltrainer.registry.v1 import events_pb2 as events
from mltrainer.trainer.v1 import events_pb2 as trainer_events
from mltrainer.trainer.v1 import resources_pb2 as trainer
from mltrainer.types.v1 import types_pb2 as types

from mltrainer_registry.application.create_version import CreateVersion
from mltrainer_registry.application.observe_attempt import ObserveAttempt
from mltrainer_registry.domain.changes import AliasMoved, Change, GateEvaluated, VersionCreated
from mltrainer_registry.domain.names import check_training, model_name, model_of_study
from mltrainer_registry.domain.versions import Lineage, Result, Target, Verdict
from mltrainer_registry.wire.resources import encode_evaluation, encode_move, encode_version
from mltrainer_registry.wire.times import from_timestamp

PUBLISHED = (events.VersionCreated, events.GateEvaluated, events.AliasMoved)


def to_create_version(event_id: str, event: trainer_events.AttemptSucceeded) -> CreateVersion:
    """Decodes the success of an attempt; the model of a study carries the study's id."""
    return CreateVersion(
        event_id=event_id,
        training=check_training(event.training),
        fencing_token=event.fencing_token,
        model=model_of_study(event.spec.study),
        manifest_digest=event.manifest_digest,
        lineage=_lineage(event.lineage),
        result=_result(event.result),
        target=_target(event.spec.target),
        propose_alias=event.spec.propose_alias,
    )


def started(event_id: str, event: trainer_events.AttemptStarted) -> ObserveAttempt:
    """Decodes the start of an attempt: earlier attempts may deliver no more."""
    return ObserveAttempt(event_id, check_training(event.training), event.fencing_token)


def failed(event_id: str, event: trainer_events.AttemptFailed) -> ObserveAttempt:
    """Decodes the failure of an attempt: it may deliver no more either."""
    return ObserveAttempt(event_id, check_training(event.training), event.fencing_token + 1)


def to_message(change: Change) -> Message:
    """Encodes a change as its event.

    Raises:
        ValueError: The change is told by no event.
    """
    match change:
        case VersionCreated(version=version):
            model, encoded = model_name(version.name.model), encode_version(version)
            return events.VersionCreated(model=model, version=encoded, revision=version.revision)
        case AliasMoved(move=move):
            model = model_name(move.alias.model)
            return events.AliasMoved(model=model, move=encode_move(move), revision=move.revision)
        case GateEvaluated(evaluation=held):
            model, evaluation = model_name(held.version.model), encode_evaluation(held)
            return events.GateEvaluated(model=model, evaluation=evaluation, revision=held.revision)
    raise ValueError(f"{type(change).__name__} is told by no event")


def _lineage(lineage: trainer.Lineage) -> Lineage:
    return Lineage(
        training=lineage.training,
        attempt=lineage.attempt,
        study=lineage.study,
        dataset=lineage.dataset,
        dataset_sha256=lineage.dataset_sha256,
        feature_view_versions=tuple(lineage.feature_view_versions),
        code_digest=lineage.code_digest,
        environment_digest=lineage.environment_digest,
        computation_key=lineage.computation_key,
        as_of_time=from_timestamp(lineage.as_of) if lineage.HasField("as_of") else None,
    )


def _result(result: trainer.AttemptResult) -> Result:
    verdict = types.Verdict.Name(result.verdict).removeprefix("VERDICT_")
    metrics = tuple((metric.name, metric.value) for metric in result.metrics)
    return Result(Verdict(verdict), metrics, result.SerializeToString(deterministic=True))


def _target(target: types.Target) -> Target:
    return Target(types.TargetKind.Name(target.kind).removeprefix("TARGET_KIND_"), target.horizon_bars)
