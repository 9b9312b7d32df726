"""Holds versions against the conditions under which an alias may point to them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.versions import ModelVersion, Verdict


class ConditionKind(StrEnum):
    """Names what a condition asks for."""

    VERDICT_IS_EDGE = "verdict_is_edge"
    LINEAGE_COMPLETE = "lineage_complete"
    BEATS_CHAMPION = "beats_champion"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; metric and direction matter to `beats_champion` only."""

    kind: ConditionKind
    metric: str = ""
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """The conditions of an alias; all must hold."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """Says whether a condition holds, and with which numbers."""

    condition: str
    passed: bool
    detail: str


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


def evaluate(
    policy: GatePolicy, candidate: ModelVersion, present: ModelVersion | None
) -> tuple[ConditionResult, ...]:
    """Holds a candidate against a policy; `present` is the version the alias points to now."""
    return tuple(_evaluate(condition, candidate, present) for condition in policy.conditions)


def _evaluate(condition: Condition, candidate: ModelVersion, present: ModelVersion | None) -> ConditionResult:
    match condition.kind:
        case ConditionKind.VERDICT_IS_EDGE:
            verdict = candidate.result.verdict
            passed, detail = verdict is Verdict.EDGE, f"the verdict is {verdict}"
        case ConditionKind.LINEAGE_COMPLETE:
            missing = candidate.lineage.missing()
            passed = not missing
            detail = f"missing: {', '.join(missing)}" if missing else "nothing is missing"
        case ConditionKind.BEATS_CHAMPION:
            passed, detail = _beats(condition, candidate, present)
        case _:
            assert_never(condition.kind)
    return ConditionResult(condition.kind, passed, detail)


def _beats(condition: Condition, candidate: ModelVersion, present: ModelVersion | None) -> tuple[bool, str]:
    metric = condition.metric
    own = candidate.result.metric(metric)
    if own is None:
        return False, f"{candidate.name} reports no {metric}"
    if present is None:
        return True, f"{metric} {own:.6g}, and the alias points nowhere yet"
    if present.target != candidate.target:
        return False, f"{present.name} predicts another target, so {metric} cannot be compared"
    other = present.result.metric(metric)
    if other is None:
        return True, f"{metric} {own:.6g}, and {present.name} reports none"
    better = own > other if condition.higher_is_better else own < other
    return better, f"{metric} {own:.6g} against {other:.6g} of {present.name}"
