"""Holds an experiment that was found valid."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mltrainer_chaos.domain.catalogue import ActivityKind, Function, target_of
from mltrainer_chaos.domain.tolerance import Tolerance


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """One function of the catalogue with all its arguments."""

    function: Function
    arguments: Mapping[str, Any]

    @property
    def target(self) -> str | None:
        """The process that it hits."""
        return target_of(self.function, self.arguments)


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One GET or HEAD request to an address of this platform."""

    url: str
    method: str
    headers: Mapping[str, str]
    timeout_s: float


Provider = FunctionCall | HttpCall


@dataclass(frozen=True, slots=True)
class Activity:
    """One action or probe.

    Attributes:
        raw: As it stands in the file, for the journal: nothing is substituted, no secret is in it.
    """

    kind: ActivityKind
    name: str
    provider: Provider
    raw: Mapping[str, Any]
    tolerance: Tolerance | None = None
    background: bool = False
    pause_before_s: float = 0.0
    pause_after_s: float = 0.0


class RollbackStrategy(StrEnum):
    """When rollbacks are executed; leased faults are undone in any case."""

    DEFAULT = "default"
    ALWAYS = "always"
    NEVER = "never"
    DEVIATED = "deviated"


@dataclass(frozen=True, slots=True)
class Limits:
    """What keeps an experiment small; the extension `mltrainer` of the file.

    Attributes:
        recovery_tolerance_s: Within this time after a fault the steady state must hold again.
        longest_s: The stop condition that every experiment has.
        guards: Probes that abort the run as soon as one is out of its tolerance.
    """

    longest_s: float
    recovery_tolerance_s: float = 0.0
    guards: tuple[Activity, ...] = ()
    max_targets: int = 1


@dataclass(frozen=True, slots=True)
class Experiment:
    """A chaos experiment in the order in which it is executed."""

    title: str
    raw: Mapping[str, Any]
    probes: tuple[Activity, ...]
    method: tuple[Activity, ...]
    rollbacks: tuple[Activity, ...]
    limits: Limits
    frequency_s: float = 0.5
    fail_fast: bool = False
    rollback_strategy: RollbackStrategy = RollbackStrategy.DEFAULT

    @property
    def targets(self) -> tuple[str, ...]:
        """Every process that the method or a rollback touches."""
        return targets_of((*self.method, *self.rollbacks))


def targets_of(activities: tuple[Activity, ...]) -> tuple[str, ...]:
    """Lists the processes that activities touch."""
    calls = (item.provider for item in activities)
    return tuple(sorted({call.target for call in calls if isinstance(call, FunctionCall) and call.target}))
