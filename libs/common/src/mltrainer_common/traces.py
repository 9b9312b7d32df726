"""Records spans to a file of OTLP JSON lines, to a collector, or both; carries traces between processes.

W3C trace flags are a bit field (a random-id flag gives `-03`): test the sampled bit, never the text.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from mltrainer_common.errors import StartupError

# A process killed with -9 loses at most the spans of this long.
_SCHEDULE_DELAY_MS = 300
_INVALID_IDS = {"0" * 32, "0" * 16}


def parse_traceparent(value: str) -> SpanContext | None:
    """Reads a W3C traceparent; None when it is malformed."""
    parts = value.split("-")
    if len(parts) < 4 or (len(parts[0]), len(parts[1]), len(parts[2]), len(parts[3])) != (2, 32, 16, 2):
        return None
    if parts[0] == "ff" or parts[1] in _INVALID_IDS or parts[2] in _INVALID_IDS:
        return None
    try:
        return SpanContext(int(parts[1], 16), int(parts[2], 16), True, TraceFlags(int(parts[3], 16)))  # noqa: FBT003 - positional only costs half
    except ValueError:
        return None


def format_traceparent(context: SpanContext) -> str:
    """Writes a W3C traceparent."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_traceparent() -> str | None:
    """Returns the traceparent of the current span; store it in the outbox row. None outside any trace."""
    context = trace.get_current_span().get_span_context()
    return format_traceparent(context) if context.is_valid else None


@contextmanager
def use_traceparent(value: str | None) -> Iterator[None]:
    """Continues a stored trace inside; without a valid one, what is inside starts traces of its own."""
    parent = parse_traceparent(value) if value else None
    carried = otel_context.Context()
    if parent is not None:
        carried = trace.set_span_in_context(NonRecordingSpan(parent), carried)
    token = otel_context.attach(carried)
    try:
        yield
    finally:
        otel_context.detach(token)


class OtlpJsonFileExporter(SpanExporter):
    """Appends one `{"resourceSpans": […]}` object per batch and line; processes may share the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes the batch with one system call, so that lines of two processes never mix."""
        line = json.dumps({"resourceSpans": _resource_spans(spans)}, separators=(",", ":"))
        try:
            os.write(self._descriptor, line.encode() + b"\n")
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the signature is the SDK's
        """Does nothing: every export is written at once."""
        return True


def _resource_spans(spans: Sequence[ReadableSpan]) -> list[dict[str, Any]]:
    by_scope: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        scope = span.instrumentation_scope.name if span.instrumentation_scope else ""
        by_scope.setdefault(scope, []).append(_span(span))
    scopes = [{"scope": {"name": name}, "spans": encoded} for name, encoded in by_scope.items()]
    return [{"resource": {"attributes": _attributes(spans[0].resource.attributes)}, "scopeSpans": scopes}]


def _span(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context() or trace.INVALID_SPAN_CONTEXT
    encoded: dict[str, Any] = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "flags": int(context.trace_flags),
        "name": span.name,
        "kind": span.kind.value + 1,
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes),
        "status": {"code": span.status.status_code.value},
    }
    if span.parent is not None:
        encoded["parentSpanId"] = f"{span.parent.span_id:016x}"
    if span.status.description:
        encoded["status"]["message"] = span.status.description
    if span.events:
        encoded["events"] = [
            {
                "timeUnixNano": str(event.timestamp),
                "name": event.name,
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ]
    if span.links:
        encoded["links"] = [
            {
                "traceId": f"{link.context.trace_id:032x}",
                "spanId": f"{link.context.span_id:016x}",
                "attributes": _attributes(link.attributes),
            }
            for link in span.links
        ]
    return encoded


def _attributes(attributes: Any) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in (attributes or {}).items()]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case _:
            return {"arrayValue": {"values": [_value(item) for item in value]}}


def tracer_provider(
    resource: Resource, ratio: float, *, file: Path | None, otlp_endpoint: str | None
) -> TracerProvider:
    """Builds the provider of a process; the caller shuts it down."""
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource, shutdown_on_exit=False
    )
    exporters: list[SpanExporter] = []
    if file is not None:
        exporters.append(OtlpJsonFileExporter(file))
    if otlp_endpoint is not None:
        exporters.append(_collector_exporter(otlp_endpoint))
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_SCHEDULE_DELAY_MS))
    return provider


def _collector_exporter(endpoint: str) -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[import-not-found, unused-ignore] # an extra
            OTLPSpanExporter,
        )
    except ImportError as error:
        raise StartupError(
            "MLTRAINER_OTLP_ENDPOINT needs an exporter: pip install 'mltrainer-common[otlp]'"
        ) from error
    exporter: SpanExporter = OTLPSpanExporter(endpoint=endpoint)
    return exporter
