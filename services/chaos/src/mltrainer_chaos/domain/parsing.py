"""Reads an experiment in the Chaos Toolkit's format, and says of everything wrong in it where and why."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mltrainer_chaos.domain.activities import ActivityReader, is_number
from mltrainer_chaos.domain.catalogue import FAULTS, service_of
from mltrainer_chaos.domain.errors import (
    InvalidExperimentError,
    MalformedError,
    TargetNotAllowedError,
    Violation,
)
from mltrainer_chaos.domain.experiment import (
    Activity,
    Experiment,
    FunctionCall,
    Limits,
    RollbackStrategy,
    targets_of,
)
from mltrainer_chaos.domain.substitution import read_configuration, read_secrets

EXTENSION = "mltrainer"
_LARGEST_CHARACTERS = 256 * 1024
_STRATEGIES = {"default", "continuously"}
_CONDITIONS = {"duration", "probe"}


@dataclass(frozen=True, slots=True)
class Policy:
    """What this platform lets experiments do.

    Attributes:
        services: Services that faults may hit.
        offered_variables: Values of `{"type": "env"}`; nothing else of the environment can be read.
        metrics_addresses: Where http probes may go beside loopback.
    """

    services: frozenset[str]
    max_targets: int
    longest_s: float
    offered_variables: Mapping[str, str] = field(default_factory=dict)
    metrics_addresses: frozenset[str] = frozenset()


def parse_experiment(text: str, policy: Policy) -> Experiment:
    """Returns the experiment.

    Raises:
        InvalidExperimentError: It is malformed or asks for what is never done.
        TargetNotAllowedError: It would hit what the policy protects.
    """
    reading = _Reading(_load(text), policy)
    experiment = reading.experiment()
    if reading.violations:
        raise InvalidExperimentError(tuple(reading.violations))
    for target in experiment.targets:
        if service_of(target) not in policy.services:
            raise TargetNotAllowedError(target)
    return experiment


def _load(text: str) -> Mapping[str, Any]:
    if len(text) > _LARGEST_CHARACTERS:
        raise _unreadable(f"has more than {_LARGEST_CHARACTERS} characters")
    try:
        raw = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, MalformedError, RecursionError) as error:
        raise _unreadable(f"is no JSON: {error}") from None
    if not isinstance(raw, dict):
        raise _unreadable("is no JSON object")
    return raw


def _unreadable(why: str) -> InvalidExperimentError:
    return InvalidExperimentError((Violation("experiment", why),))


def _refuse_constant(name: str) -> None:
    raise MalformedError(f"{name} is no number of JSON")


class _Reading:
    """Reads one experiment and collects what is wrong with it."""

    def __init__(self, raw: Mapping[str, Any], policy: Policy) -> None:
        self.violations: list[Violation] = []
        self._raw = raw
        self._policy = policy
        configuration = self._variables("configuration")
        self._activities = ActivityReader(
            configuration, self._variables("secrets"), policy.metrics_addresses, self._report
        )

    def experiment(self) -> Experiment:
        for name in ("title", "description"):
            self._text(name)
        if self._raw.get("controls"):
            self._report("controls", "run code of their own: not supported")
        probes = self._hypothesis()
        method = self._list("method", self._raw.get("method"))
        known = {str(item.get("name")): item for item in (*self._all_raw(),) if isinstance(item, Mapping)}
        read = self._activities.read
        activities = [read(f"method[{index}]", item, known) for index, item in enumerate(method)]
        rollbacks = self._list("rollbacks", self._raw.get("rollbacks", []))
        undoing = [read(f"rollbacks[{index}]", item, known) for index, item in enumerate(rollbacks)]
        experiment = Experiment(
            title=str(self._raw.get("title")),
            raw=self._raw,
            probes=probes,
            method=tuple(item for item in activities if item),
            rollbacks=tuple(item for item in undoing if item),
            limits=self._limits(),
        )
        self._check_targets(experiment)
        return self._with_runtime(experiment)

    def _report(self, path: str, description: str) -> None:
        self.violations.append(Violation(path, description))

    def _variables(self, name: str) -> dict[str, Any]:
        read = {"configuration": read_configuration, "secrets": read_secrets}[name]
        try:
            return read(self._object(name, self._raw.get(name, {})), self._policy.offered_variables)
        except MalformedError as error:
            self._report(name, str(error))
            return {}

    def _text(self, name: str) -> None:
        if not isinstance(value := self._raw.get(name), str) or not value.strip():
            self._report(name, "must be a text")

    def _list(self, path: str, raw: Any) -> list[Any]:
        if isinstance(raw, list):
            return raw
        self._report(path, "must be a list")
        return []

    def _object(self, path: str, raw: Any) -> Mapping[str, Any]:
        if isinstance(raw, Mapping):
            return raw
        self._report(path, "must be an object")
        return {}

    def _all_raw(self) -> list[Any]:
        hypothesis = self._raw.get("steady-state-hypothesis")
        parts = (
            hypothesis.get("probes") if isinstance(hypothesis, Mapping) else None,
            self._raw.get("method"),
            self._raw.get("rollbacks"),
        )
        return [item for part in parts if isinstance(part, list) for item in part]

    def _hypothesis(self) -> tuple[Activity, ...]:
        path = "steady-state-hypothesis"
        raw = self._object(path, self._raw.get(path))
        listed = self._list(f"{path}.probes", raw.get("probes", []))
        if not listed:
            self._report(f"{path}.probes", "must name at least one probe, or nothing would be proved")
        read = self._activities.read_probe
        probes = [read(f"{path}.probes[{index}]", item) for index, item in enumerate(listed)]
        return tuple(item for item in probes if item)

    def _limits(self) -> Limits:
        path = "extensions"
        listed = self._list(path, self._raw.get(path, []))
        ours = [item for item in listed if isinstance(item, Mapping) and item.get("name") == EXTENSION]
        if len(ours) != 1:
            self._report(path, f"must have one entry named '{EXTENSION}' with 'stop_conditions'")
            return Limits(self._policy.longest_s)
        path = f"extensions.{EXTENSION}"
        longest_s, guards = self._stop_conditions(f"{path}.stop_conditions", ours[0].get("stop_conditions"))
        tolerance_s = ours[0].get("recovery_tolerance_s", 0)
        tolerance_s = self._number(f"{path}.recovery_tolerance_s", tolerance_s, 0.0, self._policy.longest_s)
        count = self._number(
            f"{path}.max_targets", ours[0].get("max_targets", 1), 1, self._policy.max_targets
        )
        return Limits(longest_s, tolerance_s, guards, int(count))

    def _stop_conditions(self, path: str, raw: Any) -> tuple[float, tuple[Activity, ...]]:
        longest_s: float | None = None
        guards = []
        for index, item in enumerate(self._list(path, raw)):
            place = f"{path}[{index}]"
            condition = self._object(place, item)
            match condition.get("type"):
                case "duration":
                    limit_s = self._policy.longest_s
                    longest_s = self._number(f"{place}.seconds", condition.get("seconds"), 0.1, limit_s)
                case "probe":
                    guards.append(self._activities.read_probe(f"{place}.probe", condition.get("probe")))
                case other:
                    self._report(f"{place}.type", f"is {other!r}; known are {sorted(_CONDITIONS)}")
        if longest_s is None:
            self._report(path, "must have one of type 'duration' with 'seconds': no run is without an end")
        return longest_s or self._policy.longest_s, tuple(item for item in guards if item)

    def _number(self, path: str, value: Any, low: float, high: float) -> float:
        if not is_number(value) or not low <= value <= high:
            self._report(path, f"must be a number from {low:g} to {high:g}")
            return low
        return float(value)

    def _check_targets(self, experiment: Experiment) -> None:
        hit, most = targets_of(experiment.method), experiment.limits.max_targets
        if len(hit) > most:
            self._report("method", f"hits {', '.join(hit)}: more than max_targets, which is {most}")
        if foreign := set(targets_of(experiment.rollbacks)) - set(hit):
            self._report("rollbacks", f"touch {', '.join(sorted(foreign))}, which the method does not")
        for call in (item.provider for item in experiment.rollbacks):
            if isinstance(call, FunctionCall) and call.function in FAULTS:
                self._report("rollbacks", f"may only undo, and {call.function} is a fault")

    def _with_runtime(self, experiment: Experiment) -> Experiment:
        runtime = self._object("runtime", self._raw.get("runtime", {}))
        hypothesis = self._object("runtime.hypothesis", runtime.get("hypothesis", {}))
        rollbacks = self._object("runtime.rollbacks", runtime.get("rollbacks", {}))
        if (strategy := hypothesis.get("strategy", "default")) not in _STRATEGIES:
            self._report(
                "runtime.hypothesis.strategy",
                f"is {strategy!r}; the hypothesis is always held before, during and after: 'continuously'",
            )
        if not isinstance(fail_fast := hypothesis.get("fail_fast", False), bool):
            self._report("runtime.hypothesis.fail_fast", "must be true or false")
        wanted = rollbacks.get("strategy", RollbackStrategy.DEFAULT)
        if wanted not in set(RollbackStrategy):
            self._report("runtime.rollbacks.strategy", f"is {wanted!r}; known are {sorted(RollbackStrategy)}")
            wanted = RollbackStrategy.DEFAULT
        frequency_s = self._number(
            "runtime.hypothesis.frequency", hypothesis.get("frequency", experiment.frequency_s), 0.05, 60.0
        )
        return replace(
            experiment,
            frequency_s=frequency_s,
            fail_fast=fail_fast is True,
            rollback_strategy=RollbackStrategy(wanted),
        )
