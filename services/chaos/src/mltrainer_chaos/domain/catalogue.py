"""Lists every function that an experiment may name; nothing else is ever called."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

ACTIONS = "mltrainer_chaos.actions"
PROBES = "mltrainer_chaos.probes"
BROKER = "kafka"
LONGEST_PROBE_S = 10.0


class ActivityKind(StrEnum):
    """Whether an activity changes something or only looks."""

    ACTION = "action"
    PROBE = "probe"


class Function(StrEnum):
    """Names what can be called."""

    KILL_SERVICE = "kill_service"
    PAUSE_SERVICE = "pause_service"
    RESUME_SERVICE = "resume_service"
    KILL_BROKER = "kill_broker"
    SERVICE_IS_SERVING = "service_is_serving"
    MODEL_IS_READY = "model_is_ready"
    ALIAS_RESOLVES = "alias_resolves"


FAULTS = frozenset({Function.KILL_SERVICE, Function.PAUSE_SERVICE, Function.KILL_BROKER})


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument; required where it has no default. Numbers are above zero, or at least zero for counts."""

    type: type[str] | type[int] | type[float]
    default: str | float | None = None
    largest: float = float("inf")

    def problem(self, value: Any) -> str | None:
        """Says what is wrong with a value."""
        if self.type is str:
            return None if isinstance(value, str) and 0 < len(value) <= 200 else "must be a text"
        if isinstance(value, bool) or not isinstance(value, int if self.type is int else int | float):
            return f"must be {'a whole number' if self.type is int else 'a number'}"
        if self.type is int:
            return None if 0 <= value <= self.largest else f"must be between 0 and {self.largest:g}"
        return None if 0 < value <= self.largest else f"must be above 0 and at most {self.largest:g}"


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function is called."""

    function: Function
    kind: ActivityKind
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


_PROCESS = {"service": Parameter(str), "instance": Parameter(int, 0, 9999)}
_TIMEOUT = {"timeout_s": Parameter(float, 1.0, LONGEST_PROBE_S)}
LONGEST_PAUSE_S = 300.0
_SIGNATURES = (
    Signature(Function.KILL_SERVICE, ActivityKind.ACTION, _PROCESS),
    Signature(
        Function.PAUSE_SERVICE,
        ActivityKind.ACTION,
        {**_PROCESS, "duration_s": Parameter(float, 5.0, LONGEST_PAUSE_S)},
    ),
    Signature(Function.RESUME_SERVICE, ActivityKind.ACTION, _PROCESS),
    Signature(Function.KILL_BROKER, ActivityKind.ACTION),
    Signature(
        Function.SERVICE_IS_SERVING,
        ActivityKind.PROBE,
        {"service": Parameter(str), "min_instances": Parameter(int, 1, 9999), **_TIMEOUT},
    ),
    Signature(
        Function.MODEL_IS_READY,
        ActivityKind.PROBE,
        {"model": Parameter(str), "version": Parameter(str, ""), **_TIMEOUT},
    ),
    Signature(
        Function.ALIAS_RESOLVES,
        ActivityKind.PROBE,
        {"model": Parameter(str), "alias": Parameter(str), **_TIMEOUT},
    ),
)
_MODULES = {ActivityKind.ACTION: ACTIONS, ActivityKind.PROBE: PROBES}
CATALOGUE = {(_MODULES[item.kind], item.function.value): item for item in _SIGNATURES}


def target_of(function: Function, arguments: Mapping[str, Any]) -> str | None:
    """Returns the process that a function hits; None for a probe."""
    match function:
        case Function.KILL_BROKER:
            return BROKER
        case Function.KILL_SERVICE | Function.PAUSE_SERVICE | Function.RESUME_SERVICE:
            return f"{arguments['service']}-{arguments['instance']}"
        case _:
            return None


def service_of(target: str) -> str:
    """Returns the service that a process is an instance of."""
    return target if target == BROKER else target.rpartition("-")[0]
