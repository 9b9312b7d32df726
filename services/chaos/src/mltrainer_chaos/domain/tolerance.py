"""Says whether what a probe returned is within its tolerance, as the Chaos Toolkit defines it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from mltrainer_chaos.domain.errors import MalformedError

_COMPARED_CHARACTERS = 512
_LONGEST_PATTERN = 200
_MOST_REPETITIONS = 3
_REPETITION = re.compile(r"(?<!\\)(?:\\\\)*[*+?{]")
_REPEATED_GROUP = re.compile(r"(?<!\\)(?:\\\\)*\)[*+?{]|\\[1-9]|\(\?P=")


@dataclass(frozen=True, slots=True)
class Equal:
    """Accepts one scalar; `true` is not 1."""

    expected: bool | float | str

    def accepts(self, value: Any) -> bool:
        value = _status(value)
        return value == self.expected and isinstance(value, bool) is isinstance(self.expected, bool)


@dataclass(frozen=True, slots=True)
class OneOf:
    """Accepts any of some values."""

    expected: tuple[Any, ...]

    def accepts(self, value: Any) -> bool:
        return any(Equal(item).accepts(value) for item in self.expected)


@dataclass(frozen=True, slots=True)
class Between:
    """Accepts numbers from one bound to the other, both included."""

    low: Decimal
    high: Decimal
    target: str = ""

    def accepts(self, value: Any) -> bool:
        number = _number(_part(value, self.target) if self.target else _status(value))
        return number is not None and self.low <= number <= self.high


@dataclass(frozen=True, slots=True)
class Matches:
    """Accepts texts in which a pattern is found; only their first 512 characters are looked at."""

    pattern: str
    target: str = ""

    def accepts(self, value: Any) -> bool:
        text = _part(value, self.target)
        return isinstance(text, str) and re.search(self.pattern, text[:_COMPARED_CHARACTERS]) is not None


Tolerance = Equal | OneOf | Between | Matches


def parse_tolerance(raw: Any) -> Tolerance:
    """Reads a tolerance.

    Raises:
        MalformedError: It is none; the text says what one looks like.
    """
    match raw:
        case bool() | int() | float() | str():
            return Equal(raw)
        case [low, high] if (bounds := _bounds(low, high)) is not None:
            return bounds
        case list() if raw and all(isinstance(item, bool | int | float | str) for item in raw):
            return OneOf(tuple(raw))
        case dict():
            return _parse_object(raw)
    raise MalformedError("must be a scalar, a list of scalars, or an object of type 'range' or 'regex'")


def _parse_object(raw: Mapping[str, Any]) -> Tolerance:
    parsers: dict[str, Callable[[Mapping[str, Any]], Tolerance]] = {"range": _range, "regex": _regex}
    if (parse := parsers.get(str(raw.get("type")))) is None:
        raise MalformedError(f"has type {raw.get('type')!r}; known are 'range' and 'regex'")
    if not isinstance(raw.get("target", ""), str):
        raise MalformedError("has a 'target' that is no text")
    return parse(raw)


def _range(raw: Mapping[str, Any]) -> Tolerance:
    match raw.get("range"):
        case [low, high] if (bounds := _bounds(low, high)) is not None:
            return Between(bounds.low, bounds.high, raw.get("target", ""))
    raise MalformedError("needs 'range', a list of two numbers in order")


def _regex(raw: Mapping[str, Any]) -> Tolerance:
    pattern = raw.get("pattern")
    if not isinstance(pattern, str) or not 0 < len(pattern) <= _LONGEST_PATTERN:
        raise MalformedError(f"needs 'pattern', at most {_LONGEST_PATTERN} characters")
    # Matching holds up the whole process: what could take exponential time is refused.
    if _REPEATED_GROUP.search(pattern) or len(_REPETITION.findall(pattern)) > _MOST_REPETITIONS:
        raise MalformedError(
            f"has a pattern that repeats a group, refers back, or repeats more than {_MOST_REPETITIONS} times"
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise MalformedError(f"has a pattern that is no regular expression: {error}") from None
    return Matches(pattern, raw.get("target", ""))


def _bounds(low: Any, high: Any) -> Between | None:
    numbers = _number(low), _number(high)
    if isinstance(low, str) or isinstance(high, str) or None in numbers:
        return None
    smaller, larger = numbers
    assert smaller is not None
    assert larger is not None
    return Between(smaller, larger) if smaller <= larger else None


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _status(value: Any) -> Any:
    """Returns what stands for an HTTP answer where nothing else of it was asked for."""
    return value["status"] if isinstance(value, Mapping) and "status" in value else value


def _part(value: Any, target: str) -> Any:
    return value.get(target) if target and isinstance(value, Mapping) else value
