"""Reads chaos experiments from files, and tells of their runs."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrainer_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from mltrainer.chaos.v1.resources_pb2 import ChaosRun

_YAML = {".yaml", ".yml"}


def read_experiment(file: Path) -> str:
    """Returns the experiment of a JSON or YAML file as JSON.

    Raises:
        CliError: It cannot be read, or is neither.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{file} cannot be read: {error}.", ExitCode.USAGE) from None
    return _yaml_to_json(file, text) if file.suffix in _YAML else text


def _yaml_to_json(file: Path, text: str) -> str:
    import yaml

    try:
        return json.dumps(yaml.safe_load(text), default=str)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CliError(f"{file} is no YAML: {error}.", ExitCode.USAGE) from None


def run_to_json(run: "ChaosRun") -> dict[str, Any]:
    """Returns a run as the SDK has it, with experiment and journal as objects."""
    from google.protobuf.json_format import MessageToDict

    found = MessageToDict(run, preserving_proto_field_name=True)
    found["experiment"] = _object(found.pop("experiment_json", ""))
    found["journal"] = _object(found.pop("journal_json", ""))
    found["state"] = _state(run)
    found["recovery_s"] = _recovery_s(run)
    return found


def summary(run: "ChaosRun") -> dict[str, Any]:
    """Returns what a person wants to know of a run first."""
    return {
        "name": run.name.removeprefix("chaosRuns/") or None,
        "title": run.title,
        "state": _state(run) if run.name else "dry run",
        "verdict": run.verdict or None,
        "recovery_s": _recovery_s(run),
        "explanation": run.explanation or None,
        "targets": ", ".join(sorted({item.target for item in run.faults})) or None,
        "start_time": _time(run.start_time),
        "end_time": _time(run.end_time),
        "actor": run.actor,
        "reason": run.reason,
    }


@dataclass(slots=True)
class Narration:
    """Tells what is new each time it sees a run: its start, its faults, and whenever a probe turns."""

    tell: Callable[[str], None]
    _state: str = ""
    _faults: int = 0
    _seen: dict[str, tuple[str, bool | None]] = field(default_factory=dict)

    def __call__(self, run: "ChaosRun") -> None:
        """Looks at the run as it is now."""
        news = sorted([*self._new_faults(run), *self._turned_probes(run)])
        change = [f"{run.name} is {_state(run)}"] if _state(run) != self._state else []
        self._state = _state(run)
        lines = [line for _, line in news]
        for line in (*lines, *change) if run.verdict else (*change, *lines):
            self.tell(line)

    def _new_faults(self, run: "ChaosRun") -> list[tuple[str, str]]:
        new, self._faults = run.faults[self._faults :], len(run.faults)
        times = [_moment(fault.inject_time) for fault in new]
        return [
            (time, f"  {time[11:]} {fault.fault} hits {fault.target}")
            for time, fault in zip(times, new, strict=True)
        ]

    def _turned_probes(self, run: "ChaosRun") -> list[tuple[str, str]]:
        turned = []
        for probe in run.probes:
            time = _moment(probe.probe_time)
            seen_time, held = self._seen.get(probe.probe, ("", None))
            if time <= seen_time:
                continue
            self._seen[probe.probe] = (time, probe.passed)
            if probe.passed is not held:
                outcome = "holds" if probe.passed else f"does not hold: {probe.output}"
                turned.append((time, f"  {time[11:]} {probe.phase}: {probe.probe} {outcome}"))
        return turned


def _object(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _state(run: "ChaosRun") -> str:
    return run.State.Name(run.state).removeprefix("STATE_").lower()


def _recovery_s(run: "ChaosRun") -> float | None:
    return round(run.recovery_s, 3) if run.recovery_s else None


def _moment(time: Any) -> str:
    text: str = time.ToDatetime().isoformat(timespec="milliseconds")
    return text


def _time(time: Any) -> str | None:
    text: str = time.ToJsonString() if time.seconds else ""
    return text[:19].replace("T", " ") or None
