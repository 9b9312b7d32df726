"""Holds versions against the conditions under which an alias may point to them."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from mltrainer_models.evaluation import ModelEvaluation

from mltrainer_registry.domain.comparison import (
    DEFAULT_MIN_DAYS,
    Estimate,
    NotComparableError,
    loss_reduction,
    lower_bound,
    metric_gain,
)
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.policies import Condition, ConditionKind, GatePolicy
from mltrainer_registry.domain.versions import Column, ModelVersion, Verdict

_DEFAULT_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Contender:
    """A version with its losses by test day, where it has reported them."""

    version: ModelVersion
    evaluation: ModelEvaluation | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody other than the author has agreed."""

    approver: str
    reason: str


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """Says whether a condition holds, and with which numbers."""

    condition: str
    passed: bool
    detail: str
    estimate: float | None = None
    standard_error: float | None = None
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class GateEvaluation:
    """A version held against the policy of an alias."""

    version: VersionName
    alias: AliasName
    results: tuple[ConditionResult, ...]
    evaluate_time: datetime
    revision: int

    @property
    def passed(self) -> bool:
        """Tells whether every condition holds."""
        return all(result.passed for result in self.results)

    @property
    def failures(self) -> tuple[ConditionResult, ...]:
        """Returns the conditions that do not hold."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def lacks_approval_only(self) -> bool:
        """Tells whether an approver is all that is missing."""
        return [result.condition for result in self.failures] == [ConditionKind.APPROVED]


def evaluate(
    policy: GatePolicy, candidate: Contender, present: Contender | None, approval: Approval | None = None
) -> tuple[ConditionResult, ...]:
    """Holds a candidate against a policy; `present` is the version the alias points to now."""
    return tuple(_evaluate(condition, candidate, present, approval) for condition in policy.conditions)


def _evaluate(
    condition: Condition, candidate: Contender, present: Contender | None, approval: Approval | None
) -> ConditionResult:
    match condition.kind:
        case ConditionKind.VERDICT_IS_EDGE | ConditionKind.LINEAGE_COMPLETE | ConditionKind.SIGNATURE_PRESENT:
            return _of_candidate(condition.kind, candidate.version)
        case ConditionKind.INPUTS_COMPATIBLE:
            return _compatible(condition, candidate.version, present.version if present else None)
        case ConditionKind.METRIC_WITHIN:
            return _within(condition, candidate.version)
        case ConditionKind.BEATS_CHAMPION:
            return _beats(condition, candidate.version, present.version if present else None)
        case ConditionKind.NOT_WORSE_THAN_CHAMPION:
            return _not_worse(condition, candidate, present)
        case ConditionKind.APPROVED:
            detail = f"{approval.approver} has approved: {approval.reason}" if approval else _UNAPPROVED
            return ConditionResult(condition.kind, approval is not None, detail)
        case _:
            assert_never(condition.kind)


_UNAPPROVED = "nobody other than the author has approved it: ask with RequestPromotion"


def _of_candidate(kind: ConditionKind, version: ModelVersion) -> ConditionResult:
    if kind is ConditionKind.VERDICT_IS_EDGE:
        verdict = version.result.verdict
        return ConditionResult(kind, verdict is Verdict.EDGE, f"the verdict is {verdict}")
    if kind is ConditionKind.LINEAGE_COMPLETE:
        missing = version.lineage.missing()
        detail = f"missing: {', '.join(missing)}" if missing else "nothing is missing"
        return ConditionResult(kind, not missing, detail)
    signature = version.signature
    detail = f"{len(signature.inputs)} inputs, {len(signature.outputs)} outputs"
    return ConditionResult(kind, bool(signature.inputs and signature.outputs), detail)


def _compatible(condition: Condition, own: ModelVersion, present: ModelVersion | None) -> ConditionResult:
    if present is None:
        return ConditionResult(condition.kind, passed=True, detail=_NOWHERE)
    mine, theirs = own.signature, present.signature
    unknown = [str(one.name) for one in (own, present) if not one.signature.inputs]
    if unknown:
        return ConditionResult(
            condition.kind, passed=False, detail=f"{' and '.join(unknown)} report no inputs"
        )
    if mine.outputs != theirs.outputs:
        return ConditionResult(
            condition.kind,
            passed=False,
            detail=f"answers {_listed(mine.outputs)}, not {_listed(theirs.outputs)}",
        )
    if condition.exact and mine.inputs != theirs.inputs:
        return ConditionResult(
            condition.kind, passed=False, detail=f"the columns differ from those of {present.name}"
        )
    added = tuple(column for column in mine.inputs if column not in theirs.inputs)
    detail = f"needs {_listed(added)}, which {present.name} does not" if added else "needs nothing further"
    return ConditionResult(condition.kind, not added, detail)


def _listed(columns: tuple[Column, ...]) -> str:
    return ", ".join(f"{column.name} ({column.data_type})" for column in columns)


_NOWHERE = "the alias points nowhere yet"


def _within(condition: Condition, version: ModelVersion) -> ConditionResult:
    value, error = version.result.metric(condition.metric), version.result.error(condition.metric)
    if value is None:
        return ConditionResult(
            condition.kind, passed=False, detail=f"{version.name} reports no {condition.metric}"
        )
    if condition.confidence and error is None:
        detail = f"{version.name} reports no standard error of {condition.metric}"
        return ConditionResult(condition.kind, passed=False, detail=detail, estimate=value)
    low = high = value
    if condition.confidence and error is not None:
        low = lower_bound(value, error, condition.confidence)
        high = 2 * value - low
    # Written so that NaN fails.
    above = condition.at_least is None or low >= condition.at_least
    below = condition.at_most is None or high <= condition.at_most
    limits = [
        f"{name} {limit:g}"
        for name, limit in (("at least", condition.at_least), ("at most", condition.at_most))
        if limit is not None
    ]
    shown = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
    detail = f"{condition.metric} is {shown}; {' and '.join(limits)} is asked for"
    bound = high if condition.at_least is None else low
    return ConditionResult(condition.kind, above and below, detail, value, error, bound)


def _beats(condition: Condition, candidate: ModelVersion, present: ModelVersion | None) -> ConditionResult:
    metric = condition.metric
    own = candidate.result.metric(metric)
    if own is None:
        return ConditionResult(condition.kind, passed=False, detail=f"{candidate.name} reports no {metric}")
    if present is None:
        return ConditionResult(
            condition.kind, passed=True, detail=f"{metric} {own:.6g}, and {_NOWHERE}", estimate=own
        )
    if present.target != candidate.target:
        return ConditionResult(
            condition.kind, passed=False, detail=_other_target(condition, present), estimate=own
        )
    other = present.result.metric(metric)
    if other is None:
        detail = f"{metric} {own:.6g}, and {present.name} reports none"
        return ConditionResult(condition.kind, passed=True, detail=detail, estimate=own)
    better = own > other if condition.higher_is_better else own < other
    return ConditionResult(
        condition.kind, better, f"{metric} {own:.6g} against {other:.6g} of {present.name}", own
    )


def _other_target(condition: Condition, present: ModelVersion) -> str:
    return f"{present.name} predicts another target, so {condition.metric} cannot be compared"


def _not_worse(condition: Condition, own: Contender, present: Contender | None) -> ConditionResult:
    if present is None:
        return ConditionResult(condition.kind, passed=True, detail=_NOWHERE)
    if present.version.target != own.version.target:
        return ConditionResult(condition.kind, passed=False, detail=_other_target(condition, present.version))
    confidence = condition.confidence or _DEFAULT_CONFIDENCE
    if own.evaluation is None or present.evaluation is None:
        return _by_metric(condition, own.version, present.version, confidence)
    try:
        estimate, days = loss_reduction(
            own.evaluation,
            present.evaluation,
            confidence=confidence,
            min_days=condition.min_days or DEFAULT_MIN_DAYS,
        )
    except NotComparableError as error:
        return _by_metric(condition, own.version, present.version, confidence, error.why)
    subject = (
        f"loss per day lower by {estimate.value:.2%} than that of {present.version.name} over {days} days"
    )
    return _within_margin(condition, estimate, subject, confidence)


def _by_metric(
    condition: Condition, own: ModelVersion, present: ModelVersion, confidence: float, why: str = ""
) -> ConditionResult:
    metric = condition.metric
    mine, error = own.result.metric(metric), own.result.error(metric)
    if mine is None or error is None:
        because = why or "not both report losses by day"
        detail = f"{because}, and {own.name} reports no {metric} with a standard error: nothing to compare"
        return ConditionResult(condition.kind, passed=False, detail=detail, estimate=mine)
    other = present.result.metric(metric)
    if other is None:
        return ConditionResult(
            condition.kind, passed=False, detail=f"{present.name} reports no {metric}", estimate=mine
        )
    sign = 1.0 if condition.higher_is_better else -1.0
    estimate = metric_gain(
        sign * mine, error, sign * other, present.result.error(metric), confidence=confidence
    )
    because = f" ({why})" if why else ""
    subject = (
        f"{metric} {mine:.6g} against {other:.6g} of {present.name}{because}, better by {estimate.value:.2%}"
    )
    return _within_margin(condition, estimate, subject, confidence)


def _within_margin(
    condition: Condition, estimate: Estimate, subject: str, confidence: float
) -> ConditionResult:
    detail = (
        f"{subject} ± {estimate.standard_error:.2%}; with confidence {confidence:g} by more than "
        f"{estimate.bound:.2%}, {-condition.margin:.2%} is asked for"
    )
    passed = estimate.bound >= -condition.margin
    return ConditionResult(
        condition.kind, passed, detail, estimate.value, estimate.standard_error, estimate.bound
    )
