"""Writes what happened under the keys of the Chaos Toolkit's journal."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mltrainer_chaos.domain.experiment import Activity, Experiment
from mltrainer_chaos.domain.run import Fault, Outcome, Phase, Verdict

_STATUS = {
    Verdict.PASSED: "completed",
    Verdict.DEVIATED: "completed",
    Verdict.ABORTED: "aborted",
    Verdict.FAILED: "failed",
}
# A run must fit a message of 4 MiB.
_KEPT_PROBES_DURING = 500
_LONGEST_OUTPUT = 2_000


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and by what an experiment was executed."""

    software: str
    platform: str
    node: str


@dataclass(frozen=True, slots=True)
class ActivityResult:
    """What came of one activity; `problem` is set where it failed, `within` for probes with a tolerance."""

    activity: Activity
    output: Any
    start_time: datetime
    end_time: datetime
    problem: str | None = None
    within: bool | None = None

    @property
    def duration_s(self) -> float:
        return (self.end_time - self.start_time).total_seconds()

    def entry(self) -> dict[str, Any]:
        """Returns the entry of the journal."""
        entry = {
            "activity": self.activity.raw,
            "output": shortened(self.output),
            "start": self.start_time.isoformat(),
            "status": "failed" if self.problem else "succeeded",
            "end": self.end_time.isoformat(),
            "duration": self.duration_s,
        }
        if self.problem:
            entry["exception"] = self.problem
        if self.within is not None:
            entry["tolerance_met"] = self.within
        return entry


def shortened(output: Any) -> Any:
    """Returns an output that does not fill the journal."""
    match output:
        case str():
            return output[:_LONGEST_OUTPUT]
        case Mapping():
            return {key: shortened(item) for key, item in output.items()}
    return output


def sample_entry(results: Sequence[ActivityResult]) -> dict[str, Any]:
    """Returns the entry of one sample of the hypothesis."""
    return {
        "steady_state_met": all(item.within for item in results),
        "probes": [item.entry() for item in results],
    }


@dataclass(slots=True)
class Journal:
    """Collects the entries of one run."""

    experiment: Experiment
    machine: Machine
    start_time: datetime
    run: list[ActivityResult] = field(default_factory=list)
    rollbacks: list[ActivityResult] = field(default_factory=list)
    _gates: dict[Phase, dict[str, Any]] = field(default_factory=dict)
    _during: deque[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self._during = deque(maxlen=max(1, _KEPT_PROBES_DURING // len(self.experiment.probes)))

    def add_sample(self, phase: Phase, results: Sequence[ActivityResult]) -> None:
        """Adds one sample of the hypothesis."""
        if phase is Phase.DURING:
            self._during.append(sample_entry(results))
        else:
            self._gates[phase] = sample_entry(results)

    def close(self, outcome: Outcome, faults: Sequence[Fault], end_time: datetime) -> dict[str, Any]:
        """Returns the whole journal."""
        return {
            "chaoslib-version": self.machine.software,
            "platform": self.machine.platform,
            "node": self.machine.node,
            "experiment": self.experiment.raw,
            "start": self.start_time.isoformat(),
            "status": _STATUS[outcome.verdict],
            "deviated": outcome.verdict is Verdict.DEVIATED,
            "steady_states": {
                "before": self._gates.get(Phase.BEFORE),
                "after": self._gates.get(Phase.AFTER),
                "during": list(self._during),
            },
            "run": [item.entry() for item in self.run],
            "rollbacks": [item.entry() for item in self.rollbacks],
            "end": end_time.isoformat(),
            "duration": (end_time - self.start_time).total_seconds(),
            "mltrainer": {
                "verdict": outcome.verdict,
                "explanation": outcome.explanation,
                "recovery_s": outcome.recovery_s,
                "faults": [_fault_entry(item) for item in faults],
            },
        }


def _fault_entry(fault: Fault) -> dict[str, Any]:
    return {
        "action": fault.action,
        "kind": fault.kind,
        "target": fault.process.name,
        "pid": fault.process.pid,
        "injected": fault.inject_time.isoformat(),
        "lease_expires": fault.lease_expire_time.isoformat(),
        "reverted": fault.revert_time.isoformat() if fault.revert_time else None,
    }
