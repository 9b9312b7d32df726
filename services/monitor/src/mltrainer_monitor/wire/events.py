"""Reads what others tell and writes what monitor found."""

import math
from datetime import UTC, datetime
from typing import assert_never

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from mltrainer.experiment.v1.events_pb2 import OutcomeReported
from mltrainer.monitor.v1.events_pb2 import BudgetBurned, DriftDetected
from mltrainer.registry.v1.events_pb2 import VersionCreated
from mltrainer.serving.v1.events_pb2 import PredictionLogged
from mltrainer_models import REFERENCE_FILE

from mltrainer_monitor.application.ports import Label, LoggedCall, LoggedRow, NewVersion
from mltrainer_monitor.domain.objectives import BudgetBurn
from mltrainer_monitor.domain.watched_model import DriftOnset

PUBLISHED = (DriftDetected, BudgetBurned)
LABEL_METRIC = "label"
UNNAMED = "#"
"""Begins the symbol of a prediction that no label can name."""
_CHAMPION = "champion"


def to_new_version(event_id: str, message: VersionCreated) -> NewVersion:
    """Reads a version."""
    files = {file.path: file.sha256 for file in message.version.manifest.files}
    return NewVersion(event_id, message.model, message.version.number, files.get(REFERENCE_FILE, ""))


def to_logged_call(event_id: str, message: PredictionLogged) -> LoggedCall:
    """Reads a call; of one without event time the latest in each minute is kept.

    Raises:
        ValueError: Its parts do not fit together.
    """
    count, width = len(message.predictions), len(message.feature_names)
    if len(message.features) != count * width or len(message.symbols) not in {0, count}:
        raise ValueError("features, predictions and symbols have different numbers of rows")
    model, _, version = message.version.partition("/versions/")
    predict_time = _time(message.predict_time)
    event_time = _time(message.event_time) if message.HasField("event_time") else None
    values = list(message.features)
    rows = tuple(
        LoggedRow(
            symbol=_symbol(message, row, is_joinable=event_time is not None),
            event_time=event_time or predict_time.replace(second=0, microsecond=0),
            features=tuple(values[row * width : (row + 1) * width]),
            value=message.predictions[row],
        )
        for row in range(count)
        if math.isfinite(message.predictions[row])
    )
    return LoggedCall(
        event_id=event_id,
        model=model,
        version=int(version),
        is_champion=message.variant == _CHAMPION,
        predict_time=predict_time,
        feature_names=tuple(message.feature_names),
        rows=rows,
    )


def _symbol(message: PredictionLogged, row: int, *, is_joinable: bool) -> str:
    symbol = message.symbols[row] if message.symbols else ""
    return symbol if symbol and is_joinable else f"{UNNAMED}{symbol or row}"


def to_label(event_id: str, message: OutcomeReported) -> Label | None:
    """Reads a label; None for any other outcome and for one that names nothing or no number."""
    is_label = message.metric == LABEL_METRIC and message.model and message.symbol
    if not is_label or not message.HasField("event_time") or not math.isfinite(message.value):
        return None
    has_knowledge_time = message.HasField("knowledge_time")
    knowledge_time = _time(message.knowledge_time if has_knowledge_time else message.event_time)
    event_time = _time(message.event_time)
    return Label(event_id, message.model, message.symbol, event_time, message.value, knowledge_time)


def to_message(event: DriftOnset | BudgetBurn) -> Message:
    """Writes an event."""
    match event:
        case DriftOnset():
            drift = DriftDetected(model=event.model, features=event.features, revision=event.revision)
            drift.detect_time.FromDatetime(event.detect_time)
            return drift
        case BudgetBurn():
            return BudgetBurned(
                slo=event.slo,
                service=event.service,
                burn_rate=event.burn_rate,
                window_s=event.window_s,
                budget_left=event.budget_left,
                revision=event.revision,
            )
        case _:
            assert_never(event)


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)
