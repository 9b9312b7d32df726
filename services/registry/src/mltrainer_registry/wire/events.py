"""Translates events: those of attempts into commands, changes of the registry into events."""

from google.protobuf.message import Message
from mltrainer.registry.v1 import events_pb2 as events
from mltrainer.trainer.v1 import events_pb2 as trainer_events

from mltrainer_registry.application.create_version import CreateVersion
from mltrainer_registry.application.observe_attempt import ObserveAttempt
from mltrainer_registry.domain.changes import AliasMoved, Change, GateEvaluated, VersionCreated
from mltrainer_registry.domain.names import check_training, model_name, model_of_study
from mltrainer_registry.wire.resources import encode_evaluation, encode_move, encode_version
from mltrainer_registry.wire.results import decode_lineage, decode_result, decode_target

PUBLISHED = (events.VersionCreated, events.GateEvaluated, events.AliasMoved)


def to_create_version(event_id: str, event: trainer_events.AttemptSucceeded) -> CreateVersion:
    """Decodes the success of an attempt; the model of a study carries the study's id."""
    return CreateVersion(
        event_id=event_id,
        training=check_training(event.training),
        fencing_token=event.fencing_token,
        model=model_of_study(event.spec.study),
        manifest_digest=event.manifest_digest,
        lineage=decode_lineage(event.lineage),
        result=decode_result(event.result),
        target=decode_target(event.spec.target),
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
