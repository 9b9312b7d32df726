"""Translates policies and promotions."""

from collections.abc import Mapping, Sequence

from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources

from mltrainer_registry.application.promote_version import DecidePromotion, RequestPromotion
from mltrainer_registry.application.set_policy import SetPolicy
from mltrainer_registry.application.update_details import UpdateModel, UpdateVersion
from mltrainer_registry.domain.aliases import Motive
from mltrainer_registry.domain.details import Details, DetailsChange
from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.domain.names import (
    parse_alias,
    parse_model,
    parse_policy,
    parse_promotion,
    parse_version,
)
from mltrainer_registry.domain.policies import Condition, ConditionKind, PolicyChange
from mltrainer_registry.domain.promotions import Promotion, PromotionState
from mltrainer_registry.wire.texts import MAX_ID_LENGTH, MAX_TEXT_LENGTH, short
from mltrainer_registry.wire.times import to_timestamp


def encode_policy(change: PolicyChange) -> resources.GatePolicy:
    """Encodes an entry of the history of a policy."""
    return resources.GatePolicy(
        name=str(change.name),
        number=change.number,
        conditions=[_encode_condition(one) for one in change.policy.conditions] if change.policy else (),
        unset=change.policy is None,
        actor=change.actor,
        reason=change.reason,
        update_time=to_timestamp(change.update_time),
        revision=change.revision,
        etag=change.etag,
    )


def encode_promotion(promotion: Promotion) -> resources.Promotion:
    """Encodes a promotion."""
    decision = promotion.decision
    return resources.Promotion(
        name=str(promotion.name),
        alias=str(promotion.alias),
        version=str(promotion.version),
        expected_version=str(promotion.expected or ""),
        state=resources.Promotion.State.Value(f"STATE_{promotion.state}"),
        requester=promotion.requester,
        reason=promotion.reason,
        create_time=to_timestamp(promotion.create_time),
        decider=decision.decider if decision else "",
        decision_reason=decision.reason if decision else "",
        decide_time=to_timestamp(decision.decide_time) if decision else None,
        revision=promotion.revision,
    )


def decode_condition(condition: resources.PolicyCondition, field: str) -> Condition:
    """Decodes one condition of a policy."""
    if condition.condition not in set(ConditionKind):
        known = ", ".join(ConditionKind)
        raise InvalidFieldError(f"{field}.condition", f"is {condition.condition[:100]!r}, none of {known}")
    return Condition(
        kind=ConditionKind(condition.condition),
        metric=condition.metric,
        higher_is_better=not condition.lower_is_better,
        at_least=condition.at_least if condition.HasField("at_least") else None,
        at_most=condition.at_most if condition.HasField("at_most") else None,
        margin=condition.margin,
        confidence=condition.confidence,
        min_days=condition.min_days,
        exact=condition.exact,
    )


def _encode_condition(condition: Condition) -> resources.PolicyCondition:
    return resources.PolicyCondition(
        condition=condition.kind,
        metric=condition.metric,
        lower_is_better=not condition.higher_is_better,
        at_least=condition.at_least,
        at_most=condition.at_most,
        margin=condition.margin,
        confidence=condition.confidence,
        min_days=condition.min_days,
        exact=condition.exact,
    )


def to_set_policy(request: api.UpdateGatePolicyRequest, actor: str) -> SetPolicy:
    """Decodes an UpdateGatePolicyRequest."""
    policy = request.gate_policy
    conditions = [
        decode_condition(condition, f"gate_policy.conditions[{index}]")
        for index, condition in enumerate(policy.conditions)
    ]
    if policy.unset and conditions:
        raise InvalidFieldError("gate_policy.unset", "leaves no conditions to set")
    motive = Motive(actor, short(policy.reason, "gate_policy.reason", MAX_TEXT_LENGTH))
    name = parse_policy(policy.name, "gate_policy.name")
    return SetPolicy(name, None if policy.unset else conditions, motive, policy.etag)


def to_request_promotion(request: api.RequestPromotionRequest, actor: str) -> RequestPromotion:
    """Decodes a RequestPromotionRequest."""
    return RequestPromotion(
        alias=parse_alias(request.alias, "alias"),
        version=parse_version(request.version, "version"),
        motive=Motive(actor, short(request.reason, "reason", MAX_TEXT_LENGTH)),
        request_id=short(request.request_id, "request_id", MAX_ID_LENGTH),
    )


def to_decide_promotion(
    request: api.ApprovePromotionRequest | api.RejectPromotionRequest, actor: str, *, approve: bool
) -> DecidePromotion:
    """Decodes an ApprovePromotionRequest or a RejectPromotionRequest."""
    motive = Motive(actor, short(request.reason, "reason", MAX_TEXT_LENGTH))
    return DecidePromotion(parse_promotion(request.name), motive, approve)


def to_promotion_state(state: "resources.Promotion.State.ValueType") -> PromotionState | None:
    """Decodes which promotions are asked for; None for all."""
    if state == resources.Promotion.STATE_UNSPECIFIED:
        return None
    try:
        return PromotionState(resources.Promotion.State.Name(state).removeprefix("STATE_"))
    except ValueError as error:
        raise InvalidFieldError("state", "is none of this release") from error


def to_update_model(request: api.UpdateModelRequest) -> UpdateModel:
    """Decodes an UpdateModelRequest."""
    model = request.model
    change = _details_change(model.description, model.tags, request.update_mask.paths)
    return UpdateModel(parse_model(model.name, "model.name"), change, model.etag)


def to_update_version(request: api.UpdateModelVersionRequest) -> UpdateVersion:
    """Decodes an UpdateModelVersionRequest."""
    version = request.model_version
    change = _details_change(version.description, version.tags, request.update_mask.paths)
    return UpdateVersion(parse_version(version.name, "model_version.name"), change, version.etag)


def _details_change(description: str, tags: Mapping[str, str], paths: Sequence[str]) -> DetailsChange:
    return DetailsChange(Details(description, dict(tags)), tuple(paths))
