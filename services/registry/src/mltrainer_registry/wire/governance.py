"""Translates policies and promotions."""

from mltrainer.registry.v1 import resources_pb2 as resources

from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.domain.policies import Condition, ConditionKind, PolicyChange
from mltrainer_registry.domain.promotions import Promotion
from mltrainer_registry.wire.times import to_timestamp


def encode_policy(change: PolicyChange) -> resources.GatePolicy:
    """Encodes an entry of the history of a policy."""
    return resources.GatePolicy(
        name=str(change.name),
        number=change.number,
        conditions=[_encode_condition(condition) for condition in change.policy.conditions],
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
