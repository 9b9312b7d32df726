"""The one rule by which an online value is given a status."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mltrainer_feature.domain.errors import UnknownFeatureError, UnknownFeatureServiceError


class FeatureStatus(StrEnum):
    """What an online value is worth."""

    PRESENT = "PRESENT"
    NULL_VALUE = "NULL_VALUE"
    NOT_FOUND = "NOT_FOUND"
    OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"


@dataclass(frozen=True, slots=True)
class OnlineRow:
    """The newest row of a symbol, over all views; `values` follow the stored columns."""

    symbol: str
    event_time: datetime
    created_time: datetime
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OnlineFeature:
    """A feature that can be read: where its value lies in a row and how old it may be."""

    view: str
    name: str
    column: int
    max_age: timedelta


@dataclass(frozen=True, slots=True)
class OnlineSchema:
    """What can be read: features by `view:feature`, and named lists of them."""

    features: Mapping[str, OnlineFeature]
    services: Mapping[str, tuple[OnlineFeature, ...]]

    def select(self, references: Sequence[str]) -> tuple[OnlineFeature, ...]:
        """Finds features by reference.

        Raises:
            UnknownFeatureError: A reference names no feature.
        """
        for reference in references:
            if reference not in self.features:
                raise UnknownFeatureError(reference)
        return tuple(self.features[reference] for reference in references)

    def service(self, name: str) -> tuple[OnlineFeature, ...]:
        """Finds the features of a feature service.

        Raises:
            UnknownFeatureServiceError: There is no such service.
        """
        if name not in self.services:
            raise UnknownFeatureServiceError(name, sorted(self.services))
        return self.services[name]


def status_of(row: OnlineRow | None, value: float, max_age: timedelta, now: datetime) -> FeatureStatus:
    """Judges one value.

    In this order: no row of the symbol is NOT_FOUND; a value that is not defined, as before its first whole
    window, is NULL_VALUE; a row older than `max_age` by event time on the market clock is
    OUTSIDE_MAX_AGE, with its value, and an age of exactly `max_age` is young enough; anything else is
    PRESENT.
    """
    if row is None:
        return FeatureStatus.NOT_FOUND
    if math.isnan(value):
        return FeatureStatus.NULL_VALUE
    return FeatureStatus.OUTSIDE_MAX_AGE if now - row.event_time > max_age else FeatureStatus.PRESENT
