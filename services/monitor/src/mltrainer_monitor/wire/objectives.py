"""Reads objectives from TOML."""

import tomllib
from datetime import timedelta

from mltrainer_monitor.domain.objectives import Indicator, Objective


def to_objectives(text: str) -> tuple[Objective, ...]:
    """Reads objectives; one that names `services` of its own replaces the common one for these.

    Raises:
        ValueError: The text is no such document.
    """
    try:
        document = tomllib.loads(text)
        window_s = timedelta(days=document["window_days"]).total_seconds()
        found: dict[str, Objective] = {}
        for entry in sorted(document["objective"], key=lambda entry: "services" in entry):
            for service in entry.get("services", document["services"]):
                objective = Objective(
                    service,
                    Indicator(entry["indicator"]),
                    float(entry["objective"]),
                    window_s,
                    float(entry.get("threshold_ms", 0)),
                )
                found[objective.name] = objective
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"the objectives cannot be read: {error!r}") from error
    for objective in found.values():
        if not 0 < objective.objective < 1:
            raise ValueError(f"{objective.name}: {objective.objective} is not between 0 and 1")
        if (objective.indicator is Indicator.LATENCY) != (objective.threshold_ms > 0):
            raise ValueError(f"{objective.name}: latency, and only latency, has threshold_ms")
    return tuple(sorted(found.values(), key=lambda objective: objective.name))
