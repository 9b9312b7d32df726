"""Says which conditions an alias asks for, and checks them before they are set."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import isfinite

from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.domain.names import ANY, PolicyName

_MAX_CONDITIONS = 20
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,62}")


class ConditionKind(StrEnum):
    """Names what a condition asks for."""

    VERDICT_IS_EDGE = "verdict_is_edge"
    LINEAGE_COMPLETE = "lineage_complete"
    SIGNATURE_PRESENT = "signature_present"
    INPUTS_COMPATIBLE = "inputs_compatible"
    METRIC_WITHIN = "metric_within"
    BEATS_CHAMPION = "beats_champion"
    NOT_WORSE_THAN_CHAMPION = "not_worse_than_champion"
    APPROVED = "approved"


_WITH_METRIC = frozenset(
    {ConditionKind.METRIC_WITHIN, ConditionKind.BEATS_CHAMPION, ConditionKind.NOT_WORSE_THAN_CHAMPION}
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; the other fields matter to some kinds only.

    Attributes:
        metric: What `metric_within` and the comparisons read.
        margin: How much worse `not_worse_than_champion` lets pass, as a fraction.
        confidence: One-sided; 0 takes `metric_within` as it is and means 0.95 elsewhere.
        min_days: Shared test days for a comparison by day; 0 for the default.
        exact: Whether `inputs_compatible` asks for the same columns in the same order.
    """

    kind: ConditionKind
    metric: str = ""
    higher_is_better: bool = True
    at_least: float | None = None
    at_most: float | None = None
    margin: float = 0.0
    confidence: float = 0.0
    min_days: int = 0
    exact: bool = False


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """The conditions of an alias; all must hold."""

    conditions: tuple[Condition, ...]

    def asks_for(self, kind: ConditionKind) -> bool:
        """Tells whether some condition is of a kind."""
        return any(condition.kind is kind for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One entry of the history of a policy.

    Attributes:
        number: Counts from 1.
        policy: None where it was taken back: the next closest one holds.
    """

    name: PolicyName
    number: int
    policy: GatePolicy | None
    actor: str
    reason: str
    update_time: datetime
    revision: int

    @property
    def etag(self) -> str:
        """Changes with every change of the policy."""
        return f"n{self.number}"


def check_may_be_unset(name: PolicyName) -> None:
    """Raises InvalidFieldError for the policy that nothing stands behind."""
    if (name.model, name.alias) == (ANY, ANY):
        raise InvalidFieldError(
            "gate_policy.unset", f"cannot be of {name}, the last resort: set no conditions"
        )


def check_conditions(conditions: Sequence[Condition]) -> GatePolicy:
    """Returns the policy of conditions that make sense, alone and together.

    Raises:
        InvalidFieldError: One of them does not.
    """
    if len(conditions) > _MAX_CONDITIONS:
        raise InvalidFieldError(
            "gate_policy.conditions", f"lists {len(conditions)} conditions, more than {_MAX_CONDITIONS}"
        )
    seen: set[tuple[ConditionKind, str]] = set()
    for index, condition in enumerate(conditions):
        field = f"gate_policy.conditions[{index}]"
        _check(condition, field)
        if (condition.kind, condition.metric) in seen:
            raise InvalidFieldError(field, f"repeats {condition.kind}")
        seen.add((condition.kind, condition.metric))
    return GatePolicy(tuple(conditions))


def _check(condition: Condition, field: str) -> None:
    if condition.kind in _WITH_METRIC:
        if _METRIC.fullmatch(condition.metric) is None:
            raise InvalidFieldError(f"{field}.metric", "is no name of a metric, such as r2")
    elif condition.metric:
        raise InvalidFieldError(f"{field}.metric", f"does not belong to {condition.kind}")
    if condition.kind is ConditionKind.METRIC_WITHIN:
        _check_limits(condition, field)
    elif condition.at_least is not None or condition.at_most is not None:
        raise InvalidFieldError(f"{field}.at_least", "and at_most belong to metric_within")
    # Written so that NaN fails.
    if not 0 <= condition.margin < 1:
        raise InvalidFieldError(f"{field}.margin", f"is {condition.margin:g}, not 0 to less than 1")
    if condition.confidence != 0 and not 0.5 <= condition.confidence <= 0.999:
        raise InvalidFieldError(f"{field}.confidence", f"is {condition.confidence:g}, not 0.5 to 0.999, or 0")
    if not 0 <= condition.min_days <= 100_000:
        raise InvalidFieldError(f"{field}.min_days", f"is {condition.min_days}, not 0 to 100000")


def _check_limits(condition: Condition, field: str) -> None:
    limits = [limit for limit in (condition.at_least, condition.at_most) if limit is not None]
    if not limits:
        raise InvalidFieldError(f"{field}.at_least", "or at_most is needed by metric_within")
    if not all(isfinite(limit) for limit in limits):
        raise InvalidFieldError(f"{field}.at_least", "and at_most must be finite")
    if limits != sorted(limits):
        raise InvalidFieldError(f"{field}.at_least", "is above at_most")
