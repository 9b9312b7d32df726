"""Translates Feast's serving messages, laid out as Feast's own servers do: entity columns, then features."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from mltrainer_feature.application.read_online import OnlineAnswer, OnlineColumn, OnlineQuery
from mltrainer_feature.domain.errors import InvalidRequestError, Violation
from mltrainer_feature.domain.online import FeatureStatus
from mltrainer_feature.wire.feast_stubs import serving_pb2, value_pb2

ENTITY = "symbol"
_STATUSES = {status: serving_pb2.FieldStatus.Value(status.name) for status in FeatureStatus}
_WITH_VALUE = frozenset({FeatureStatus.PRESENT, FeatureStatus.OUTSIDE_MAX_AGE})
_NO_TIME = Timestamp()
_NULL = value_pb2.Value()


def to_query(request: Any) -> OnlineQuery:
    """Reads a request.

    Raises:
        InvalidRequestError: The entity is missing, or a symbol is no string.
    """
    if ENTITY not in request.entities:
        raise InvalidRequestError([Violation("entities", f"give the values of the entity {ENTITY!r}")])
    values = request.entities[ENTITY].val
    violations = [
        Violation(f"entities[{ENTITY}].val[{index}]", "give a string_val")
        for index, value in enumerate(values)
        if value.WhichOneof("val") != "string_val"
    ]
    if violations or not values:
        raise InvalidRequestError(
            violations or [Violation(f"entities[{ENTITY}]", "name at least one symbol")]
        )
    return OnlineQuery(
        tuple(value.string_val for value in values), tuple(request.features.val), request.feature_service
    )


def to_response(query: OnlineQuery, answer: OnlineAnswer, *, full_feature_names: bool) -> Any:
    """Writes an answer; values are absent unless PRESENT or OUTSIDE_MAX_AGE."""
    times = [_timestamp(moment) for moment in answer.event_times]
    response = serving_pb2.GetOnlineFeaturesResponse(status=True)
    response.metadata.feature_names.val.append(ENTITY)
    response.metadata.feature_names.val.extend(
        f"{column.feature.view}__{column.feature.name}" if full_feature_names else column.feature.name
        for column in answer.columns
    )
    response.results.append(_entity_vector(query, answer))
    response.results.extend(_feature_vector(column, times) for column in answer.columns)
    return response


def _feature_vector(column: OnlineColumn, times: list[Timestamp]) -> Any:
    values = [
        value_pb2.Value(double_val=value) if status in _WITH_VALUE else _NULL
        for value, status in zip(column.values, column.statuses, strict=True)
    ]
    return serving_pb2.GetOnlineFeaturesResponse.FeatureVector(
        values=values, statuses=[_STATUSES[status] for status in column.statuses], event_timestamps=times
    )


def _entity_vector(query: OnlineQuery, answer: OnlineAnswer) -> Any:
    count = len(query.symbols)
    return serving_pb2.GetOnlineFeaturesResponse.FeatureVector(
        values=[value_pb2.Value(string_val=symbol) for symbol in query.symbols],
        statuses=[_STATUSES[FeatureStatus.PRESENT]] * count,
        event_timestamps=[_timestamp(answer.now)] * count,
    )


def _timestamp(moment: Any) -> Timestamp:
    if moment is None:
        return _NO_TIME
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
