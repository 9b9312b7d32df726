"""Spans in the file, traceparents and log lines."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_common.errors import StartupError
from mltrainer_common.settings import Environment, PlatformSettings
from mltrainer_common.telemetry import start_telemetry
from mltrainer_common.traces import (
    current_traceparent,
    format_traceparent,
    parse_traceparent,
    use_traceparent,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"


def lines_of(directory: Path, slug: str) -> list[dict[str, Any]]:
    text = (directory / "traces" / f"{slug}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def spans_of(directory: Path, slug: str) -> list[dict[str, Any]]:
    return [
        span
        for line in lines_of(directory, slug)
        for resource in line["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def test_spans_are_written_in_the_json_encoding_of_otlp(tmp_path: Path) -> None:
    with start_telemetry(PlatformSettings(data_directory=tmp_path), "registry") as telemetry:
        linked = SpanContext(1, 2, is_remote=True)
        with (
            use_traceparent(TRACEPARENT),
            telemetry.tracer.start_as_current_span(
                "load", kind=SpanKind.CONSUMER, links=[Link(linked, {"why": "version"})]
            ) as span,
        ):
            span.set_attributes({"text": "x", "flag": True, "count": 2**53, "share": 0.5, "list": ["a", "b"]})
            span.add_event("swapped", {"to": 2})
            span.set_status(Status(StatusCode.ERROR, "broken"))

    (line,) = lines_of(tmp_path, "registry")
    resource = {item["key"]: item["value"] for item in line["resourceSpans"][0]["resource"]["attributes"]}
    (written,) = spans_of(tmp_path, "registry")
    assert resource["service.name"] == {"stringValue": "registry"}
    assert (written["traceId"], written["parentSpanId"]) == tuple(TRACEPARENT.split("-")[1:3])
    assert (len(written["spanId"]), written["kind"]) == (16, 5)
    assert int(written["endTimeUnixNano"]) >= int(written["startTimeUnixNano"]) > 0
    assert {item["key"]: item["value"] for item in written["attributes"]} == {
        "text": {"stringValue": "x"},
        "flag": {"boolValue": True},
        "count": {"intValue": str(2**53)},
        "share": {"doubleValue": 0.5},
        "list": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}},
    }
    assert written["events"][0]["name"] == "swapped"
    assert written["links"][0]["traceId"] == f"{1:032x}"
    assert written["status"] == {"code": 2, "message": "broken"}


MAKE_SPANS = """
import sys
from pathlib import Path
from mltrainer_common.settings import PlatformSettings
from mltrainer_common.telemetry import start_telemetry

with start_telemetry(PlatformSettings(data_directory=Path(sys.argv[1])), "registry") as telemetry:
    for _ in range(1500):
        telemetry.tracer.start_span("work" * 20).end()
"""


def test_two_processes_of_a_service_share_a_file(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", MAKE_SPANS, tmp_path]) for _ in range(2)]

    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(spans_of(tmp_path, "registry")) == 3000


@pytest.mark.parametrize(("ratio", "written"), [(0.0, 0), (1.0, 20)])
def test_the_ratio_decides_on_new_traces(tmp_path: Path, ratio: float, written: int) -> None:
    platform = PlatformSettings(data_directory=tmp_path, trace_ratio=ratio)

    with start_telemetry(platform, "registry") as telemetry:
        for _ in range(20):
            telemetry.tracer.start_span("work").end()

    assert len(spans_of(tmp_path, "registry")) == written


def test_a_parent_that_is_sampled_overrules_the_ratio(tmp_path: Path) -> None:
    platform = PlatformSettings(data_directory=tmp_path, trace_ratio=0.0)

    with start_telemetry(platform, "registry") as telemetry, use_traceparent(TRACEPARENT):
        telemetry.tracer.start_span("work").end()

    assert len(spans_of(tmp_path, "registry")) == 1


def test_production_without_a_collector_writes_no_file(tmp_path: Path) -> None:
    platform = PlatformSettings(data_directory=tmp_path, environment=Environment.PRODUCTION)

    with start_telemetry(platform, "registry") as telemetry:
        telemetry.tracer.start_span("work").end()

    assert list(tmp_path.iterdir()) == []


def test_a_collector_without_its_exporter_says_what_to_install(tmp_path: Path) -> None:
    platform = PlatformSettings(data_directory=tmp_path, otlp_endpoint="http://127.0.0.1:4318")

    with pytest.raises(StartupError, match="pip install"), start_telemetry(platform, "registry"):
        pass


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_a_traceparent_survives_the_round_trip(trace_id: int, span_id: int, flags: int) -> None:
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))

    assert parse_traceparent(format_traceparent(context)) == context


@given(st.text(alphabet="0123456789abcdefgF-", max_size=70))
def test_anything_else_is_no_traceparent_and_no_error(value: str) -> None:
    parsed = parse_traceparent(value)

    assert parsed is None or parsed.is_valid


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c8031zz-b7ad6b7169203331-01",
    ],
)
def test_malformed_traceparents_are_ignored(value: str) -> None:
    assert parse_traceparent(value) is None


def test_without_a_stored_trace_the_current_one_does_not_leak_in() -> None:
    with use_traceparent(TRACEPARENT):
        continued = current_traceparent()
        with use_traceparent(None):
            inside = current_traceparent()

    assert (continued, inside, current_traceparent()) == (TRACEPARENT, None, None)


def test_log_lines_are_json_and_know_their_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    platform = PlatformSettings(data_directory=tmp_path, instance="2")
    with start_telemetry(platform, "registry"), use_traceparent(TRACEPARENT):
        structlog.get_logger().info("version_created", version=3)
        structlog.get_logger().debug("not_written")
        import logging

        logging.getLogger("library").warning("watch %s", "out")

    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["version"], ours["level"]) == ("version_created", 3, "info")
    assert (ours["service"], ours["instance"]) == ("registry", "2")
    assert (ours["trace_id"], ours["span_id"]) == tuple(TRACEPARENT.split("-")[1:3])
    assert (theirs["event"], theirs["logger"], theirs["service"]) == ("watch out", "library", "registry")


def test_the_metrics_port_is_closed_at_the_end(tmp_path: Path) -> None:
    with start_telemetry(PlatformSettings(data_directory=tmp_path), "registry") as telemetry:
        address = telemetry.metrics_address
        page = urlopen(f"http://{address}/metrics").read().decode()

    assert "process_resident_memory_bytes" in page
    with pytest.raises(OSError, match="refused"):
        urlopen(f"http://{address}/metrics")
