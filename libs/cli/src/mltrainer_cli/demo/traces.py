"""Merges the span files of the services, and finds what one trace went through."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SpanSummary:
    """One span of a trace."""

    service: str
    name: str
    trace_id: str


def merge(directory: Path, target: Path) -> int:
    """Writes every `*.jsonl` of a directory into one file of OTLP JSON lines; returns the number of lines."""
    count = 0
    with target.open("w") as merged:
        for line in _lines(directory):
            merged.write(line + "\n")
            count += 1
    return count


def spans(directory: Path) -> Iterator[SpanSummary]:
    """Yields every span of a directory's files."""
    for line in _lines(directory):
        for resource in json.loads(line)["resourceSpans"]:
            service = _service(resource)
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    yield SpanSummary(service, span["name"], span["traceId"])


def services_of(directory: Path, trace_id: str) -> dict[str, int]:
    """Returns how many spans of a trace each service made."""
    counts: dict[str, int] = {}
    for span in spans(directory):
        if span.trace_id == trace_id:
            counts[span.service] = counts.get(span.service, 0) + 1
    return dict(sorted(counts.items()))


def _service(resource: dict[str, Any]) -> str:
    attributes = {item["key"]: item["value"] for item in resource["resource"]["attributes"]}
    return str(attributes["service.name"]["stringValue"])


def _lines(directory: Path) -> Iterator[str]:
    for file in sorted(directory.glob("*.jsonl")):
        with file.open() as content:
            # A process killed in the middle of a write leaves half a line.
            yield from (line.strip() for line in content if line.endswith("}\n"))
