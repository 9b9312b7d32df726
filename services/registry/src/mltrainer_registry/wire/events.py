"""Translates events: those of attempts into commands, changes of the registry into events."""

from typing import Any, assert_never

from google.protobuf.message import Message
from mltrainer.registry.v1 import events_pb2 as events
from mltrainer.trainer.v1 import events_pb2 as trainer_events

from mltrainer_registry.application.create_version import CreateVersion
from mltrainer_registry.application.observe_attempt import ObserveAttempt
from mltrainer_registry.domain.changes import (
    AliasMoved,
    Change,
    GateEvaluated,
    GatePolicyChanged,
    ModelUpdated,
    PromotionDecided,
    PromotionRequested,
    VersionArchived,
    VersionCreated,
    VersionUpdated,
)
from mltrainer_registry.domain.names import check_training, model_name, model_of_study
from mltrainer_registry.domain.promotions import Promotion
from mltrainer_registry.wire.governance import encode_policy, encode_promotion
from mltrainer_registry.wire.resources import (
    encode_evaluation,
    encode_model,
    encode_move,
    encode_version,
)
from mltrainer_registry.wire.results import decode_lineage, decode_result, decode_signature, decode_target

PUBLISHED = (
    events.VersionCreated,
    events.VersionUpdated,
    events.VersionArchived,
    events.ModelUpdated,
    events.GateEvaluated,
    events.AliasMoved,
    events.PromotionRequested,
    events.PromotionDecided,
    events.GatePolicyChanged,
)


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
        owner=event.spec.owner,
        signature=decode_signature(event.result.signature),
    )


def started(event_id: str, event: trainer_events.AttemptStarted) -> ObserveAttempt:
    """Decodes the start of an attempt: earlier attempts may deliver no more."""
    return ObserveAttempt(event_id, check_training(event.training), event.fencing_token)


def failed(event_id: str, event: trainer_events.AttemptFailed) -> ObserveAttempt:
    """Decodes the failure of an attempt: it may deliver no more either."""
    return ObserveAttempt(event_id, check_training(event.training), event.fencing_token + 1)


def to_message(change: Change) -> Message:
    """Encodes a change as its event."""
    match change:
        case VersionCreated() | VersionUpdated() | VersionArchived():
            message = _version_event(change)
        case ModelUpdated(model=it):
            name = model_name(it.model)
            message = events.ModelUpdated(model=name, resource=encode_model(it), revision=it.revision)
        case AliasMoved(move=move):
            name = model_name(move.alias.model)
            message = events.AliasMoved(model=name, move=encode_move(move), revision=move.revision)
        case GateEvaluated(evaluation=held):
            name, evaluation = model_name(held.version.model), encode_evaluation(held)
            message = events.GateEvaluated(model=name, evaluation=evaluation, revision=held.revision)
        case PromotionRequested(promotion=it):
            message = events.PromotionRequested(**_promotion_fields(it))
        case PromotionDecided(promotion=it):
            message = events.PromotionDecided(**_promotion_fields(it))
        case GatePolicyChanged(change=it):
            name, policy = model_name(it.name.model), encode_policy(it)
            message = events.GatePolicyChanged(model=name, gate_policy=policy, revision=it.revision)
        case _:
            assert_never(change)
    return message


def _version_event(change: VersionCreated | VersionUpdated | VersionArchived) -> Message:
    kinds = {
        VersionCreated: events.VersionCreated,
        VersionUpdated: events.VersionUpdated,
        VersionArchived: events.VersionArchived,
    }
    version = change.version
    return kinds[type(change)](
        model=model_name(version.name.model),
        version=encode_version(version),
        revision=version.state_revision,
    )


def _promotion_fields(promotion: Promotion) -> dict[str, Any]:
    return {
        "model": model_name(promotion.name.model),
        "promotion": encode_promotion(promotion),
        "revision": promotion.revision,
    }
