"""Translates events."""

from collections.abc import Sequence
from typing import Any, assert_never

import polars as pl
from google.protobuf.message import Message
from mltrainer.feature.v1 import events_pb2
from mltrainer_messaging.envelope import Event

from mltrainer_feature.application.ports import DomainEvent
from mltrainer_feature.application.record_bars import ReceivedBars
from mltrainer_feature.domain import views
from mltrainer_feature.domain.bars import BAR_SCHEMA
from mltrainer_feature.wire.times import read_time, write_time

_OPTIONAL = ("open", "high", "low", "volume")


def to_received_bars(events: Sequence[Event[events_pb2.BarClosed]]) -> ReceivedBars:
    """Reads bars; what is missing stays null for validation to refuse."""
    records = [_record(event.message) for event in events]
    bars = pl.DataFrame(records, schema=BAR_SCHEMA, orient="row")
    return ReceivedBars(tuple(event.id for event in events), bars)


def _record(message: events_pb2.BarClosed) -> tuple[Any, ...]:
    given = {field.name for field, _ in message.ListFields()}
    return (
        message.symbol,
        read_time(message, "event_time"),
        read_time(message, "knowledge_time"),
        message.close,
        *(getattr(message, name) if name in given else None for name in _OPTIONAL),
        message.adjusted,
    )


def to_message(event: DomainEvent) -> Message:
    """Writes an event of this service."""
    match event:
        case views.FeaturesMaterialized(view=view):
            return events_pb2.FeaturesMaterialized(
                feature_view=view.name,
                row_count=event.row_count,
                latest_event_time=write_time(event.latest_event_time),
                revision=view.log_revision,
            )
        case views.ViewRevised(view=view):
            return events_pb2.ViewRevised(
                feature_view=view.name,
                version=view.version,
                definition_digest=view.definition_digest,
                data_revision=view.data_revision,
                revision=view.revision,
            )
        case _:
            assert_never(event)
