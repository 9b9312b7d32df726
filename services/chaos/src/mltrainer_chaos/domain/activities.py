"""Reads the actions and probes of an experiment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mltrainer_chaos.domain.catalogue import ActivityKind
from mltrainer_chaos.domain.errors import MalformedError
from mltrainer_chaos.domain.experiment import Activity
from mltrainer_chaos.domain.providers import parse_provider
from mltrainer_chaos.domain.substitution import UnknownVariableError, substitute
from mltrainer_chaos.domain.tolerance import Tolerance, parse_tolerance

_LONGEST_PAUSE_S = 3600.0


def is_number(value: Any) -> bool:
    """Tells whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class ActivityReader:
    """Turns activities as they stand in a file into calls, and reports what is wrong."""

    configuration: Mapping[str, Any]
    secrets: Mapping[str, Any]
    metrics_addresses: frozenset[str]
    report: Callable[[str, str], None]

    def read(self, path: str, raw: Any, known: Mapping[str, Mapping[str, Any]]) -> Activity | None:
        """Reads an action or probe, or one of the known that it refers to."""
        if isinstance(raw, Mapping) and "ref" in raw:
            referred = known.get(str(raw["ref"]))
            if referred is None:
                self.report(f"{path}.ref", f"no activity is named {raw['ref']!r}")
                return None
            raw = referred
        if not isinstance(raw, Mapping):
            self.report(path, "must be an object")
            return None
        kind = raw.get("type")
        if kind not in set(ActivityKind):
            self.report(f"{path}.type", f"is {kind!r}; known are {sorted(ActivityKind)}")
            return None
        return self._read(path, raw, ActivityKind(kind))

    def read_probe(self, path: str, raw: Any) -> Activity | None:
        """Reads a probe with a tolerance."""
        if not isinstance(raw, Mapping) or raw.get("type", ActivityKind.PROBE) != ActivityKind.PROBE:
            self.report(path, "must be a probe")
            return None
        probe = self._read(path, raw, ActivityKind.PROBE)
        tolerance = self._tolerance(f"{path}.tolerance", raw)
        return replace(probe, tolerance=tolerance) if probe and tolerance else None

    def _read(self, path: str, raw: Mapping[str, Any], kind: ActivityKind) -> Activity | None:
        if not isinstance(name := raw.get("name"), str) or not 0 < len(name) <= 200:
            self.report(f"{path}.name", "must be a text of at most 200 characters")
            return None
        if raw.get("controls"):
            self.report(f"{path}.controls", "run code of their own: not supported")
        if not isinstance(background := raw.get("background", False), bool):
            self.report(f"{path}.background", "must be true or false")
        before_s, after_s = self._pauses(f"{path}.pauses", raw.get("pauses", {}))
        filled = self._provider(f"{path}.provider", raw.get("provider"))
        if filled is None:
            return None
        provider = parse_provider(
            filled,
            kind,
            self.metrics_addresses,
            lambda below, text: self.report(f"{path}.provider{below}", text),
        )
        if provider is None:
            return None
        return Activity(
            kind,
            name,
            provider,
            raw,
            background=background is True,
            pause_before_s=before_s,
            pause_after_s=after_s,
        )

    def _provider(self, path: str, raw: Any) -> Mapping[str, Any] | None:
        if not isinstance(raw, Mapping):
            self.report(path, "must be an object")
            return None
        # Secrets go into headers only: whatever else a provider holds is shown by probes and journals.
        shown = {key: raw[key] for key in raw if key != "headers"}
        rest: Mapping[str, Any] | None = self._filled(path, shown, self.configuration)
        if rest is None or "headers" not in raw:
            return rest
        headers = self._filled(f"{path}.headers", raw["headers"], {**self.configuration, **self.secrets})
        return {**rest, "headers": headers}

    def _filled(self, path: str, value: Any, variables: Mapping[str, Any]) -> Any:
        try:
            return substitute(value, variables)
        except UnknownVariableError as error:
            self.report(path, f"refers to ${{{error}}}, which the configuration does not define")
            return None

    def _tolerance(self, path: str, raw: Mapping[str, Any]) -> Tolerance | None:
        if "tolerance" not in raw:
            self.report(path, "is missing")
            return None
        try:
            return parse_tolerance(self._filled(path, raw["tolerance"], self.configuration))
        except MalformedError as error:
            self.report(path, str(error))
            return None

    def _pauses(self, path: str, raw: Any) -> tuple[float, float]:
        if not isinstance(raw, Mapping):
            self.report(path, "must be an object")
            return 0.0, 0.0
        return self._pause(path, raw, "before"), self._pause(path, raw, "after")

    def _pause(self, path: str, raw: Mapping[str, Any], name: str) -> float:
        value = self._filled(f"{path}.{name}", raw.get(name, 0), self.configuration)
        if not is_number(value) or not 0 <= value <= _LONGEST_PAUSE_S:
            self.report(f"{path}.{name}", f"must be a number of seconds up to {_LONGEST_PAUSE_S:g}")
            return 0.0
        return float(value)
