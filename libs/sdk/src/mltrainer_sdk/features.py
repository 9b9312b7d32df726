"""Reads online features through Feast's own serving contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import numpy as np
from feast_wire.online_pb2 import (
    FeatureList,
    GetOnlineFeaturesRequest,
    GetOnlineFeaturesResponse,
    RepeatedValue,
    Value,
)
from numpy.typing import NDArray

METHOD = "/feast.serving.ServingService/GetOnlineFeatures"
ENTITY = "symbol"


class FeatureStatus(IntEnum):
    """Why a value is there or not, as Feast numbers it."""

    INVALID = 0
    PRESENT = 1
    NULL_VALUE = 2
    NOT_FOUND = 3
    OUTSIDE_MAX_AGE = 4


@dataclass(frozen=True, slots=True)
class FeatureVectors:
    """Online features of several symbols.

    Attributes:
        values: float64 [symbols, features]; NaN where the status is not PRESENT, or stale and not allowed.
        statuses: Same shape.
        event_times: Same shape; None where nothing was found.
    """

    symbols: tuple[str, ...]
    feature_names: tuple[str, ...]
    values: NDArray[np.float64]
    statuses: tuple[tuple[FeatureStatus, ...], ...]
    event_times: tuple[tuple[datetime | None, ...], ...]

    @property
    def is_complete(self) -> bool:
        """Tells whether every value is there."""
        return bool(np.isfinite(self.values).all())


def to_request(symbols: Sequence[str], features: Sequence[str] | str) -> GetOnlineFeaturesRequest:
    """Asks for features by `view:feature`, or for a feature service by its name."""
    entities = {ENTITY: RepeatedValue(val=[Value(string_val=symbol) for symbol in symbols])}
    if isinstance(features, str):
        return GetOnlineFeaturesRequest(feature_service=features, entities=entities)
    return GetOnlineFeaturesRequest(features=FeatureList(val=features), entities=entities)


_FRESH = frozenset({FeatureStatus.PRESENT})
_KNOWN = frozenset({FeatureStatus.PRESENT, FeatureStatus.OUTSIDE_MAX_AGE})


def from_response(
    symbols: Sequence[str], response: GetOnlineFeaturesResponse, *, allow_stale: bool
) -> FeatureVectors:
    """Arranges the columns of the answer as a matrix; the entity column is left out."""
    usable = _KNOWN if allow_stale else _FRESH
    names = list(response.metadata.feature_names.val)
    columns = [(name, column) for name, column in zip(names, response.results, strict=True) if name != ENTITY]
    values = np.full((len(symbols), len(columns)), np.nan)
    statuses: list[list[FeatureStatus]] = [[] for _ in symbols]
    times: list[list[datetime | None]] = [[] for _ in symbols]
    for index, (_, column) in enumerate(columns):
        for row in range(len(symbols)):
            status = FeatureStatus(column.statuses[row])
            statuses[row].append(status)
            times[row].append(_time(column, row) if status in _KNOWN else None)
            if status in usable:
                values[row, index] = _number(column.values[row])
    return FeatureVectors(
        tuple(symbols),
        tuple(name for name, _ in columns),
        values,
        tuple(map(tuple, statuses)),
        tuple(map(tuple, times)),
    )


def _time(column: Any, row: int) -> datetime | None:
    if row >= len(column.event_timestamps):
        return None
    time: datetime = column.event_timestamps[row].ToDatetime(UTC)
    return time


def _number(value: Value) -> float:
    kind = value.WhichOneof("val")
    return float("nan") if kind in {None, "string_val"} else float(getattr(value, str(kind)))
