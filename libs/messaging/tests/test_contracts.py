"""Topics and envelopes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from mltrainer.feature.v1.events_pb2 import BarClosed, ViewRevised
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer_messaging.dead_letters import DeadLetter, read_dead_letter
from mltrainer_messaging.envelope import (
    EnvelopeError,
    EnvelopeFault,
    EventTooLargeError,
    OutgoingEvent,
    RawRecord,
    decode_event,
    encode_event,
)
from mltrainer_messaging.topics import NotAnEventError, record_key, topic_name, topic_of

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TYPES = {"mltrainer.feature.v1.BarClosed": BarClosed}


def encoded(**changes: Any) -> OutgoingEvent:
    message = BarClosed(symbol="AAPL", close=187.5)
    event = encode_event(message, source="/mltrainer/test", event_id="e-1", time=NOW, traceparent=TRACEPARENT)
    return replace(event, **changes)


def record_of(event: OutgoingEvent, **changes: Any) -> RawRecord:
    return replace(RawRecord(event.topic, 3, 41, event.key, event.value, event.headers, NOW), **changes)


def with_header(name: str, value: bytes | None) -> RawRecord:
    headers = tuple((key, value if key == name else old) for key, old in encoded().headers)
    return record_of(encoded(headers=headers))


@pytest.mark.parametrize(
    ("full_name", "topic"),
    [
        ("mltrainer.scheduler.v1.TrainingRequested", "mltrainer.scheduler.training-requested.v1"),
        ("mltrainer.cost_optimizer.v1.WasteFound", "mltrainer.cost-optimizer.waste-found.v1"),
        ("mltrainer.monitor.v2.Drift2Detected", "mltrainer.monitor.drift2-detected.v2"),
    ],
)
def test_a_topic_is_named_after_its_event(full_name: str, topic: str) -> None:
    assert topic_name(full_name) == topic


def test_layout_and_key_come_from_the_contract() -> None:
    topic = topic_of(ViewRevised)

    assert (topic.key_field, topic.partitions, topic.compacted) == ("feature_view", 6, True)
    assert topic.dead_letter == "mltrainer.feature.view-revised.v1.dead-letter"
    assert record_key(TrainingRequested(study="studies/s")) == "studies/s"


def test_a_message_that_is_no_event_has_no_topic() -> None:
    with pytest.raises(NotAnEventError, match="option"):
        topic_of(Timestamp)
    with pytest.raises(NotAnEventError, match="named"):
        topic_name("google.protobuf.Timestamp")


def test_an_event_is_encoded_in_the_cloudevents_binary_binding() -> None:
    event = encoded()

    assert (event.topic, event.key) == ("mltrainer.feature.bar-closed.v1", b"AAPL")
    assert dict(event.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"/mltrainer/test",
        "ce_type": b"mltrainer.feature.v1.BarClosed",
        "ce_time": b"2026-01-05T14:30:00Z",
        "content-type": b"application/protobuf",
        "traceparent": TRACEPARENT.encode(),
    }


@given(
    symbol=st.text(max_size=50),
    close=st.floats(allow_nan=False),
    event_id=st.text(min_size=1, max_size=40),
    time=st.datetimes(timezones=st.just(timezone(timedelta(hours=-5)))),
)
def test_any_event_comes_back_as_it_was(symbol: str, close: float, event_id: str, time: datetime) -> None:
    message = BarClosed(symbol=symbol, close=close)

    event = encode_event(message, source="/mltrainer/ü", event_id=event_id, time=time, traceparent=None)
    decoded = decode_event(record_of(event), TYPES)

    assert (decoded.message, decoded.id, decoded.time, decoded.key) == (message, event_id, time, symbol)
    assert (decoded.source, decoded.traceparent, decoded.partition, decoded.offset) == (
        "/mltrainer/ü",
        None,
        3,
        41,
    )


@given(
    value=st.binary(max_size=300), headers=st.lists(st.tuples(st.text(max_size=12), st.binary(max_size=20)))
)
def test_arbitrary_bytes_are_decoded_or_refused_with_a_fault(
    value: bytes, headers: list[tuple[str, bytes]]
) -> None:
    record = record_of(encoded(value=value, headers=(*encoded().headers, *headers)))

    try:
        decode_event(record, TYPES)
    except EnvelopeError as error:
        assert error.fault in EnvelopeFault


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        pytest.param(record_of(encoded(value=None)), EnvelopeFault.NO_BODY, id="no body"),
        pytest.param(record_of(encoded(value=b"\xff" * 20)), EnvelopeFault.UNDECODABLE, id="garbage"),
        pytest.param(
            record_of(encoded(value=b"\x0a\x01\xff")), EnvelopeFault.UNDECODABLE, id="text not UTF-8"
        ),
        pytest.param(record_of(encoded(value=b"x" * (2**20 + 1))), EnvelopeFault.TOO_LARGE, id="oversized"),
        pytest.param(record_of(encoded(key=b"\xff")), EnvelopeFault.KEY_NOT_UTF8, id="key not UTF-8"),
        pytest.param(record_of(encoded(headers=())), EnvelopeFault.HEADER_MISSING, id="no headers"),
        pytest.param(with_header("ce_id", b""), EnvelopeFault.HEADER_MISSING, id="empty id"),
        pytest.param(with_header("ce_id", None), EnvelopeFault.HEADER_MISSING, id="id without value"),
        pytest.param(with_header("ce_id", b"\xfe"), EnvelopeFault.HEADER_NOT_UTF8, id="id not UTF-8"),
        pytest.param(
            with_header("traceparent", b"\xfe"), EnvelopeFault.HEADER_NOT_UTF8, id="trace not UTF-8"
        ),
        pytest.param(with_header("ce_type", b"a.b.C"), EnvelopeFault.UNKNOWN_TYPE, id="unknown type"),
        pytest.param(
            with_header("ce_specversion", b"0.3"), EnvelopeFault.WRONG_SPECVERSION, id="old version"
        ),
        pytest.param(with_header("content-type", b"text/json"), EnvelopeFault.WRONG_CONTENT_TYPE, id="json"),
        pytest.param(with_header("ce_time", b"yesterday"), EnvelopeFault.BAD_TIME, id="time in words"),
        pytest.param(
            with_header("ce_time", b"2026-01-05T14:30:00"), EnvelopeFault.BAD_TIME, id="time without zone"
        ),
    ],
)
def test_a_bad_record_is_refused_with_its_fault(record: RawRecord, fault: EnvelopeFault) -> None:
    with pytest.raises(EnvelopeError) as caught:
        decode_event(record, TYPES)

    assert caught.value.fault is fault


def test_an_event_without_time_took_place_when_it_was_stored() -> None:
    headers = tuple(header for header in encoded().headers if header[0] != "ce_time")

    assert decode_event(record_of(encoded(headers=headers)), TYPES).time == NOW


def test_parameters_of_the_content_type_do_not_matter() -> None:
    record = with_header("content-type", b"Application/Protobuf; messageType=x")

    assert decode_event(record, TYPES).id == "e-1"


def test_an_event_above_one_mebibyte_is_not_published() -> None:
    with pytest.raises(EventTooLargeError):
        encode_event(BarClosed(symbol="x" * 2**20), source="/s", event_id="e", time=NOW, traceparent=None)


@given(
    key=st.none() | st.binary(max_size=9),
    value=st.none() | st.binary(max_size=99),
    headers=st.lists(
        st.tuples(st.sampled_from(["ce_id", "x"]), st.none() | st.binary(max_size=9)), max_size=4
    ),
)
def test_a_dead_letter_keeps_the_original_bytes(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    record = RawRecord("mltrainer.a.b.v1", 2, 7, key, value, tuple(headers), NOW)
    letter = DeadLetter("BROKEN", "why \ud800", "group", "handler", 3, NOW, TRACEPARENT, record)

    published = letter.to_record()
    read = read_dead_letter(
        RawRecord(published.topic, 0, 0, published.key, published.value, published.headers, NOW)
    )

    assert published.topic == "mltrainer.a.b.v1.dead-letter"
    assert replace(read, detail="") == replace(letter, detail="")
    assert read.original() == OutgoingEvent("mltrainer.a.b.v1", key, value, tuple(headers))
