"""Writes Prometheus alert rules for objectives: several windows, several burn rates."""

from collections.abc import Sequence
from typing import Any

from mltrainer.monitor.v1.resources_pb2 import ServiceLevelObjective

# Google's SRE workbook; monitor alarms by the same pairs.
_WINDOWS = (("1h", "5m", 14.4, "page"), ("6h", "30m", 6.0, "page"), ("3d", "6h", 1.0, "ticket"))
_FAULTS = "INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|UNKNOWN"
_STREAMS = ".*/(WatchModels|DownloadArtifact|EventStream)"
_HEALTH = "/grpc.*"


def burn_rules(objectives: Sequence[ServiceLevelObjective]) -> dict[str, Any]:
    """Returns a rule file; scrape jobs are expected to be named like the services."""
    groups = [{"name": f"mltrainer-{_id(one)}", "rules": _rules(one)} for one in objectives]
    return {"groups": groups}


def _rules(objective: ServiceLevelObjective) -> list[dict[str, Any]]:
    rules = [
        {
            "alert": f"{_camel(_id(objective))}BudgetBurns",
            "expr": " and ".join(
                f"({_bad_share(objective, window)}) > {_number(rate * (1 - objective.objective))}"
                for window in (long, short)
            ),
            "labels": {"severity": severity, "slo": _id(objective), "service": objective.service},
            "annotations": {
                "summary": f"{objective.name} burns its error budget at {rate:g} times the allowed speed "
                f"over {long}."
            },
        }
        for long, short, rate, severity in _WINDOWS
    ]
    return [*rules, _down(objective.service)] if objective.indicator == "availability" else rules


def _down(service: str) -> dict[str, Any]:
    """Alarms where there are no calls to count: nothing of the service answers a scrape."""
    instances = f'up{{job="{service}"}}'
    return {
        "alert": f"{_camel(service)}Down",
        "expr": f"max({instances}) < 1 or absent({instances})",
        "for": "30s",
        "labels": {"severity": "page", "service": service},
        "annotations": {"summary": f"No instance of {service} answers."},
    }


def _bad_share(objective: ServiceLevelObjective, window: str) -> str:
    job = f'job="{objective.service}"'
    if objective.indicator == "availability":
        calls = f'mltrainer_rpc_server_calls_total{{{job},method!~"{_HEALTH}"'
        bad = f'sum(rate({calls},code=~"{_FAULTS}"}}[{window}]))'
        return f"{bad} / sum(rate({calls}}}[{window}]))"
    timed = f'{{{job},method!~"{_HEALTH}|{_STREAMS}",code!~"{_FAULTS}"'
    bound = _number(objective.threshold_ms / 1000)
    good = f'sum(rate(mltrainer_rpc_server_seconds_bucket{timed},le="{bound}"}}[{window}]))'
    return f"1 - {good} / sum(rate(mltrainer_rpc_server_seconds_count{timed}}}[{window}]))"


def _id(objective: ServiceLevelObjective) -> str:
    return objective.name.removeprefix("slos/")


def _camel(text: str) -> str:
    return "".join(word.capitalize() for word in text.split("-"))


def _number(value: float) -> str:
    return f"{value:.10g}"
