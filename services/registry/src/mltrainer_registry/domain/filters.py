"""What may be asked of models and versions, and which values make sense."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from mltrainer_registry.domain.errors import InvalidFilterError
from mltrainer_registry.domain.versions import Verdict, VersionState

MAX_FILTER_LENGTH = 4_000
MAX_CONDITIONS = 50
MAX_DEPTH = 30
MODEL_ORDERS = frozenset({"name", "create_time", "version_count"})
VERSION_ORDERS = frozenset({"name", "number", "create_time", "metrics"})


class Operator(StrEnum):
    """Compares; `HAS` is `:`."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    HAS = ":"


class ValueKind(StrEnum):
    """Says what a field holds."""

    TEXT = "a text"
    NUMBER = "a number"
    TIME = "a time such as 2026-01-31T00:00:00Z"
    STATE = "ACTIVE or ARCHIVED"
    VERDICT = "EDGE, NO_EDGE, NOT_ENOUGH_DATA or UNSPECIFIED"
    SET = "one of several texts"
    TAGS = "tags.{key}"
    METRICS = "metrics.{name}"


_ORDERED = frozenset(Operator) - {Operator.HAS}
_EQUALITY = frozenset({Operator.EQUAL, Operator.NOT_EQUAL})
_OPERATORS: Mapping[ValueKind, frozenset[Operator]] = {
    ValueKind.TEXT: _EQUALITY | {Operator.HAS},
    ValueKind.NUMBER: _ORDERED,
    ValueKind.TIME: _ORDERED,
    ValueKind.STATE: _EQUALITY,
    ValueKind.VERDICT: _EQUALITY,
    ValueKind.SET: frozenset({Operator.EQUAL, Operator.HAS}),
    ValueKind.TAGS: _EQUALITY | {Operator.HAS},
    ValueKind.METRICS: _ORDERED,
}

MODEL_FIELDS: Mapping[str, ValueKind] = {
    "name": ValueKind.TEXT,
    "description": ValueKind.TEXT,
    "version_count": ValueKind.NUMBER,
    "create_time": ValueKind.TIME,
    "alias": ValueKind.SET,
    "tags": ValueKind.TAGS,
}
LINEAGE_FIELDS = frozenset(
    {
        "study",
        "dataset",
        "dataset_sha256",
        "feature_view_version",
        "code_digest",
        "environment_digest",
        "computation_key",
        "parent_version",
    }
)
VERSION_FIELDS: Mapping[str, ValueKind] = {
    "name": ValueKind.TEXT,
    "model": ValueKind.TEXT,
    "number": ValueKind.NUMBER,
    "state": ValueKind.STATE,
    "verdict": ValueKind.VERDICT,
    "training": ValueKind.TEXT,
    "owner": ValueKind.TEXT,
    "description": ValueKind.TEXT,
    "create_time": ValueKind.TIME,
    "target": ValueKind.TEXT,
    "horizon_bars": ValueKind.NUMBER,
    "alias": ValueKind.SET,
    "tags": ValueKind.TAGS,
    "metrics": ValueKind.METRICS,
    **dict.fromkeys(sorted(LINEAGE_FIELDS), ValueKind.SET),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition as it was written; `position` counts characters from 1."""

    path: tuple[str, ...]
    operator: Operator
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Some part holds."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Expression"


Expression = Comparison | AllOf | AnyOf | Not


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition that makes sense.

    Attributes:
        key: Which tag or metric; empty elsewhere, and for `tags:key`, which asks for the key alone.
    """

    field: str
    kind: ValueKind
    key: str
    operator: Operator
    value: str | float | datetime


def check_comparison(comparison: Comparison, fields: Mapping[str, ValueKind]) -> Condition:
    """Returns the condition with its value read.

    Raises:
        InvalidFilterError: The field, the comparison or the value makes no sense.
    """
    field, *rest = comparison.path
    kind = fields.get(field)
    if kind is None:
        known = ", ".join(fields)
        raise InvalidFilterError(comparison.position, f"names {field[:100]!r}, which is none of {known}")
    key = _key(comparison, kind, rest)
    if comparison.operator not in _OPERATORS[kind]:
        usable = " ".join(sorted(_OPERATORS[kind]))
        raise InvalidFilterError(
            comparison.position, f"compares {field} by {comparison.operator}; only {usable} make sense"
        )
    return Condition(field, kind, key, comparison.operator, _value(comparison, kind))


def _key(comparison: Comparison, kind: ValueKind, rest: list[str]) -> str:
    if kind is ValueKind.TAGS and not rest and comparison.operator is Operator.HAS:
        return ""
    if kind in {ValueKind.TAGS, ValueKind.METRICS}:
        if not rest:
            raise InvalidFilterError(comparison.position, f"needs a name after {comparison.path[0]}: {kind}")
        return ".".join(rest)
    if rest:
        raise InvalidFilterError(comparison.position, f"looks into {comparison.path[0]}, which has no fields")
    return ""


def _value(comparison: Comparison, kind: ValueKind) -> str | float | datetime:
    text = comparison.text
    try:
        if kind in {ValueKind.NUMBER, ValueKind.METRICS}:
            return _number(text)
        if kind is ValueKind.TIME:
            return _time(text)
        if kind is ValueKind.STATE:
            return VersionState(text)
        if kind is ValueKind.VERDICT:
            return Verdict(text)
    except (ValueError, OverflowError) as error:
        expected = ValueKind.NUMBER if kind is ValueKind.METRICS else kind
        raise InvalidFilterError(
            comparison.position, f"compares {comparison.path[0]} with {text[:100]!r}, which is not {expected}"
        ) from error
    return text


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Order:
    """How a list is sorted; `key` names the metric."""

    field: str
    key: str = ""
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked for; `text` tells one search from another."""

    expression: Expression | None
    order: Order
    text: str
