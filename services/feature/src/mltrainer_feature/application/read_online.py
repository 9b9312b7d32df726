"""Reads the newest features from memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mltrainer_feature.application.ports import Clock, OnlineRows
from mltrainer_feature.domain.errors import InvalidRequestError, Violation
from mltrainer_feature.domain.online import FeatureStatus, OnlineFeature, OnlineRow, OnlineSchema, status_of

MAX_VALUES = 200_000
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class OnlineQuery:
    """What is read: features by reference, or those of a feature service."""

    symbols: tuple[str, ...]
    references: tuple[str, ...] = ()
    service: str = ""


@dataclass(frozen=True, slots=True)
class OnlineColumn:
    """One feature of all symbols asked for, in their order."""

    feature: OnlineFeature
    values: list[float]
    statuses: list[FeatureStatus]


@dataclass(frozen=True, slots=True)
class OnlineAnswer:
    """Columns, and the event time of each symbol's row; None where it has no row."""

    columns: list[OnlineColumn]
    event_times: list[datetime | None]
    now: datetime


@dataclass(frozen=True, slots=True)
class ReadOnlineHandler:
    """Answers from the rows in memory; ages are judged on the market clock."""

    schema: OnlineSchema
    online: OnlineRows
    market_clock: Clock

    def __call__(self, query: OnlineQuery) -> OnlineAnswer:
        features = (
            self.schema.service(query.service) if query.service else self.schema.select(query.references)
        )
        if not features:
            raise InvalidRequestError([Violation("features", "name features or a feature service")])
        if len(features) * len(query.symbols) > MAX_VALUES:
            raise InvalidRequestError([Violation("entities", f"ask for at most {MAX_VALUES} values at once")])
        rows = [self.online.get(symbol) for symbol in query.symbols]
        now = self.market_clock.now()
        columns = [_column(feature, rows, now) for feature in features]
        return OnlineAnswer(columns, [row.event_time if row else None for row in rows], now)


def _column(feature: OnlineFeature, rows: Sequence[OnlineRow | None], now: datetime) -> OnlineColumn:
    values = [row.values[feature.column] if row else _NAN for row in rows]
    statuses = [status_of(row, value, feature.max_age, now) for row, value in zip(rows, values, strict=True)]
    return OnlineColumn(feature, values, statuses)
