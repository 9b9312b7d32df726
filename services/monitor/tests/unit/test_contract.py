import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from mltrainer.experiment.v1.events_pb2 import OutcomeReported
from mltrainer.monitor.v1 import events_pb2, monitor_service_pb2
from mltrainer.serving.v1.events_pb2 import PredictionLogged
from mltrainer_common.authorization import unlisted_methods
from mltrainer_common.database import DatabaseUnavailableError
from mltrainer_common.rpc_metrics import ServerMetrics
from mltrainer_messaging.topics import topic_of
from mltrainer_monitor.application.ports import LoggedRow
from mltrainer_monitor.domain import errors
from mltrainer_monitor.domain.errors import InvalidFieldError
from mltrainer_monitor.domain.objectives import BudgetBurn, Counts, Indicator
from mltrainer_monitor.domain.scores import ScoreSums, score
from mltrainer_monitor.domain.watched_model import DriftOnset
from mltrainer_monitor.wire import requests
from mltrainer_monitor.wire.errors import to_rpc_error
from mltrainer_monitor.wire.events import PUBLISHED, to_label, to_logged_call, to_message, to_new_version
from mltrainer_monitor.wire.exposition import to_reading
from mltrainer_monitor.wire.roles import ROLES
from prometheus_client import CollectorRegistry, Gauge, generate_latest

DAY = datetime(2022, 1, 3, 21, tzinfo=UTC)


def test_every_method_has_a_role() -> None:
    service = monitor_service_pb2.DESCRIPTOR.services_by_name["MonitorService"]

    assert unlisted_methods([service], ROLES) == []


def _all_errors(parent: type[Exception]) -> Iterator[type[Exception]]:
    for child in parent.__subclasses__():
        yield child
        yield from _all_errors(child)


def test_every_error_has_an_answer_whose_facts_are_in_the_metadata() -> None:
    for error_type in _all_errors(errors.MonitorError):
        error = error_type(*["value"] * (error_type.__init__.__code__.co_argcount - 1))
        answer = to_rpc_error(error)

        assert answer is not None, error_type
        assert "value" in answer.metadata.values()


def test_a_database_that_is_away_invites_a_retry_and_the_unknown_is_not_ours() -> None:
    answer = to_rpc_error(DatabaseUnavailableError("x"))

    assert answer is not None
    assert answer.code is grpc.StatusCode.UNAVAILABLE
    assert to_rpc_error(KeyError("x")) is None


def test_everything_published_belongs_to_monitor() -> None:
    own = {message.full_name for message in events_pb2.DESCRIPTOR.message_types_by_name.values()}

    assert {message.DESCRIPTOR.full_name for message in PUBLISHED} == own
    assert topic_of(events_pb2.DriftDetected).name == "mltrainer.monitor.drift-detected.v1"


def test_events_carry_what_was_found() -> None:
    drift = to_message(DriftOnset("models/m", ("a",), DAY, 2))
    burn = to_message(BudgetBurn("slos/s", "serving", 20.0, 3_600.0, 0.5, 3))

    assert (drift.model, drift.features, drift.detect_time.ToDatetime(UTC), drift.revision) == (
        "models/m",
        ["a"],
        DAY,
        2,
    )
    assert (burn.slo, burn.service, burn.burn_rate, burn.window_s, burn.budget_left, burn.revision) == (
        "slos/s",
        "serving",
        20.0,
        3_600.0,
        0.5,
        3,
    )


def test_a_call_is_read_row_by_row(make: Any) -> None:
    event = make.prediction(0, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0.5, math.nan, 0.7])

    call = to_logged_call("e", event)

    assert (call.model, call.version, call.is_champion) == ("models/vol5", 1, True)
    assert call.rows == (LoggedRow("S0", DAY, (1.0, 2.0), 0.5), LoggedRow("S2", DAY, (5.0, 6.0), 0.7))


def test_a_call_without_symbol_or_event_time_cannot_be_named_by_a_label(make: Any) -> None:
    unnamed = to_logged_call("e", make.prediction(0, [[1.0, 2.0]], [0.5], symbols=[]))
    timeless: PredictionLogged = make.prediction(
        0, [[1.0, 2.0]], [0.5], predicted_after=timedelta(seconds=59)
    )
    timeless.ClearField("event_time")

    row = to_logged_call("e", timeless).rows[0]

    assert unnamed.rows[0].symbol == "#0"
    assert (row.symbol, row.event_time) == ("#S0", DAY)


@pytest.mark.parametrize("field", ["features", "symbols"])
def test_a_call_whose_parts_do_not_fit_is_refused(make: Any, field: str) -> None:
    event = make.prediction(0, [[1.0, 2.0]], [0.5])
    getattr(event, field).append("x" if field == "symbols" else 1.0)

    with pytest.raises(ValueError, match="different numbers of rows"):
        to_logged_call("e", event)


def test_only_complete_labels_are_labels(make: Any) -> None:
    label = make.label(0, "S0", 0.5)
    others = [OutcomeReported() for _ in range(5)]
    for other in others:
        other.CopyFrom(label)
    others[0].metric = "squared_error"
    others[1].model = ""
    others[2].symbol = ""
    others[3].ClearField("event_time")
    others[4].value = math.inf

    read = to_label("e", label)

    assert read is not None
    assert (read.symbol, read.event_time, read.knowledge_time) == ("S0", DAY, DAY + timedelta(days=5))
    assert [to_label("e", other) for other in others] == [None] * 5


def test_a_version_without_reference_is_known_all_the_same(make: Any) -> None:
    assert to_new_version("e", make.version(3)).reference_digest == ""
    assert to_new_version("e", make.version(3, "d" * 64)).reference_digest == "d" * 64


def _exposition() -> str:
    registry = CollectorRegistry()
    Gauge("process_start_time_seconds", "Start.", registry=registry).set(1_700_000_000.25)
    metrics, codes = ServerMetrics(registry), grpc.StatusCode
    infer, watch = (
        "/inference.GRPCInferenceService/ModelInfer",
        "/mltrainer.registry.v1.RegistryService/WatchModels",
    )
    for code in (codes.INVALID_ARGUMENT, codes.CANCELLED, codes.NOT_FOUND, codes.OK):
        metrics.record(infer, code, 0.02)
    metrics.record(infer, codes.OK, 0.2)
    for code in (
        codes.INTERNAL,
        codes.UNAVAILABLE,
        codes.DEADLINE_EXCEEDED,
        codes.RESOURCE_EXHAUSTED,
        codes.UNKNOWN,
    ):
        metrics.record(infer, code, 0.5)
    metrics.record(watch, codes.OK, 50.0)
    metrics.record("/grpc.health.v1.Health/Check", codes.OK, 0.001)
    return generate_latest(registry).decode()


def test_callers_mistakes_are_good_calls_and_streams_have_no_latency() -> None:
    reading = to_reading(_exposition(), threshold_ms=100.0)

    assert reading.process_start_s == 1_700_000_000.25
    assert reading.counts == {Indicator.AVAILABILITY: Counts(6, 11), Indicator.LATENCY: Counts(4, 5)}


def test_a_threshold_between_buckets_is_rounded_down() -> None:
    reading = to_reading(_exposition(), threshold_ms=240.0)

    assert reading.counts[Indicator.LATENCY] == Counts(4, 5)
    assert to_reading(_exposition(), 0.1).counts[Indicator.LATENCY] == Counts(0, 5)


def test_a_process_without_calls_yet_has_none_and_a_foreign_page_is_refused() -> None:
    empty = to_reading("# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 5.0\n", 100.0)

    assert empty.counts == {Indicator.AVAILABILITY: Counts(), Indicator.LATENCY: Counts()}
    with pytest.raises(ValueError, match="process_start_time_seconds"):
        to_reading("<html>", 100.0)


def test_scores_say_nan_where_labels_do_not_suffice() -> None:
    none = score("v", ScoreSums(5), DAY)
    few = score("v", ScoreSums(20, 10, 9, 9.0, 18.0, -4.5), DAY)
    enough = score("v", ScoreSums(20, 20, 10, 10.0, 20.0, -5.0), DAY)

    assert all(math.isnan(value) for value in (none.r2, none.rmse, none.mean_error, none.label_coverage))
    assert math.isnan(few.r2)
    assert (few.rmse, few.mean_error, few.label_coverage) == (1.0, -0.5, 0.9)
    assert enough.r2 == 0.5


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        pytest.param(monitor_service_pb2.ListModelScoresRequest(page_size=1_001), "page_size", id="too many"),
        pytest.param(monitor_service_pb2.ListModelScoresRequest(page_token="x"), "page_token", id="token"),
        pytest.param(monitor_service_pb2.ListModelScoresRequest(parent="vol5"), "parent", id="model"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    request_: monitor_service_pb2.ListModelScoresRequest, field: str
) -> None:
    with pytest.raises(InvalidFieldError) as refusal:
        (
            requests.page_size(request_),
            requests.version_token(request_),
            requests.model_name("parent", request_.parent),
        )

    assert refusal.value.field == field
