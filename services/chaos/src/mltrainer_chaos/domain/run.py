"""Holds a run with its faults, its probes and its verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

PREFIX = "chaosRuns/"


class RunState(StrEnum):
    """Where a run is in its life."""

    PENDING = "PENDING"
    EXECUTING = "EXECUTING"
    FINISHED = "FINISHED"
    ABORTED = "ABORTED"


class Verdict(StrEnum):
    """What a run proved."""

    PASSED = "PASSED"
    """The steady state held before and after, and within the tolerance again after every fault."""
    DEVIATED = "DEVIATED"
    """It did not hold, or not soon enough."""
    ABORTED = "ABORTED"
    """The kill switch, a stop condition or the end of this service came first."""
    FAILED = "FAILED"
    """The experiment could not be carried out."""


class FaultKind(StrEnum):
    """What was done to a process."""

    KILL = "KILL"
    PAUSE = "PAUSE"


class Phase(StrEnum):
    """When a probe was made."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class TargetProcess:
    """A process, told apart from a later one with the same number by when it started."""

    name: str
    pid: int
    start_mark: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, stored before it is injected; its lease says when it is undone at the latest."""

    id: str
    run: str
    action: str
    kind: FaultKind
    process: TargetProcess
    inject_time: datetime
    lease_expire_time: datetime
    revert_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """One probe as it is shown."""

    probe: str
    phase: Phase
    passed: bool
    output: str
    duration_ms: float
    probe_time: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    verdict: Verdict
    explanation: str
    recovery_s: float | None = None


@dataclass(frozen=True, slots=True)
class ChaosRun:
    """One execution of an experiment; `outcome` is None until the end."""

    name: str
    ordinal: int
    title: str
    experiment_json: str
    targets: tuple[str, ...]
    actor: str
    reason: str
    create_time: datetime
    state: RunState = RunState.PENDING
    request_id: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    outcome: Outcome | None = None
    journal: Mapping[str, Any] | None = None
    revision: int = 1

    @property
    def has_ended(self) -> bool:
        return self.outcome is not None


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run has ended."""

    run: ChaosRun


def started(run: ChaosRun, now: datetime) -> ChaosRun:
    """Returns the run as it begins."""
    return replace(run, state=RunState.EXECUTING, start_time=now, revision=run.revision + 1)


def ended(
    run: ChaosRun, outcome: Outcome, now: datetime, journal: Mapping[str, Any] | None = None
) -> ChaosRun:
    """Returns the run with its verdict; one that was carried out is finished, any other aborted."""
    carried_out = outcome.verdict in {Verdict.PASSED, Verdict.DEVIATED}
    return replace(
        run,
        state=RunState.FINISHED if carried_out else RunState.ABORTED,
        outcome=outcome,
        end_time=now,
        journal=journal,
        revision=run.revision + 1,
    )
