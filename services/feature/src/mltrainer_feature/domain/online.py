"""What can be read online, and the one rule by which an online value is given a status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from mltrainer_features import OnDemandFeature, on_demand_features

from mltrainer_feature.domain.errors import (
    FeatureListRemovedError,
    FeatureViewRemovedError,
    UnknownFeatureError,
    UnknownFeatureServiceError,
)

Cell = bytes | None
"""A value as the online store keeps it: encoded, empty where undefined, None where never written."""


class FeatureStatus(IntEnum):
    """What an online value is worth.

    Numbered as in Feast's contract, so that the statuses of a column are the bytes of its reply.
    """

    PRESENT = 1
    NULL_VALUE = 2
    NOT_FOUND = 3
    OUTSIDE_MAX_AGE = 4


class ValueKind(StrEnum):
    """The type of an entity's or a feature's value, by the name of Feast's field for it."""

    BYTES = "bytes_val"
    STRING = "string_val"
    INT32 = "int32_val"
    INT64 = "int64_val"
    DOUBLE = "double_val"
    UNIX_TIMESTAMP = "unix_timestamp_val"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class JoinKey:
    """A part of an entity's key: its name in requests, in stored keys, and its type."""

    name: str
    stored_name: str
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class OnlineView:
    """A view that can be read: whose rows it holds, how old they may be, which field keeps their time.

    `key_prefix` and `key_suffix` surround an entity's values in its key; `max_age_us` None is for ever.
    """

    name: str
    project: str
    join_keys: tuple[JoinKey, ...]
    max_age_us: int | None
    time_field: bytes
    key_prefix: bytes
    key_suffix: bytes


@dataclass(frozen=True, slots=True)
class OnlineFeature:
    """A feature that can be read, and the field that keeps its value."""

    view: OnlineView
    name: str
    kind: ValueKind
    field: bytes


@dataclass(frozen=True, slots=True)
class OnlineSchema:
    """What can be read: features by `view:feature`, and named lists of them.

    `revision` changes with the content; `join_keys` are the names that requests may give values for.
    `computed` are on-demand features by reference, `lists` the references of services that may name such.
    Of what was removed, services are told with the views they lost.
    """

    features: Mapping[str, OnlineFeature]
    services: Mapping[str, tuple[OnlineFeature, ...]]
    revision: int = 0
    join_keys: frozenset[str] = field(default_factory=frozenset)
    computed: Mapping[str, OnDemandFeature] = field(default_factory=on_demand_features)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    removed_views: frozenset[str] = frozenset()
    removed_services: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def select(self, references: Sequence[str]) -> tuple[OnlineFeature, ...]:
        """Finds features by reference.

        Raises:
            FeatureViewRemovedError: A reference names a feature of a view that was removed.
            UnknownFeatureError: A reference names no feature.
        """
        for reference in references:
            if reference not in self.features:
                view = reference.partition(":")[0]
                if view in self.removed_views:
                    raise FeatureViewRemovedError(view)
                raise UnknownFeatureError(reference)
        return tuple(self.features[reference] for reference in references)

    def service(self, name: str) -> tuple[OnlineFeature, ...]:
        """Finds the features of a feature service.

        Raises:
            FeatureListRemovedError: It was removed, or a view that it reads.
            UnknownFeatureServiceError: There is no such service.
        """
        if name not in self.services:
            if name in self.removed_services:
                raise FeatureListRemovedError(name, self.removed_services[name])
            raise UnknownFeatureServiceError(name, sorted({*self.services, *self.lists}))
        return self.services[name]


def row_statuses(times_us: Sequence[int | None], max_age_us: int | None, now_us: int) -> bytes:
    """Judges the rows of a view, by event time: one status each.

    No row is NOT_FOUND; a row older than `max_age_us` on the market clock is OUTSIDE_MAX_AGE, and an age of
    exactly `max_age_us` is young enough; anything else is PRESENT.
    """
    if len(set(times_us)) == 1:
        return bytes([_row_status(times_us[0], max_age_us, now_us)]) * len(times_us)
    return bytes([_row_status(time_us, max_age_us, now_us) for time_us in times_us])


def _row_status(time_us: int | None, max_age_us: int | None, now_us: int) -> FeatureStatus:
    if time_us is None:
        return FeatureStatus.NOT_FOUND
    is_too_old = max_age_us is not None and now_us - time_us > max_age_us
    return FeatureStatus.OUTSIDE_MAX_AGE if is_too_old else FeatureStatus.PRESENT


def value_statuses(rows: bytes, cells: Sequence[Cell]) -> bytes:
    """Judges the values of a column, whose rows have these statuses.

    In this order: a value without row is NOT_FOUND; one that its row lacks or that is undefined, as before
    its first whole window, is NULL_VALUE; one too old is OUTSIDE_MAX_AGE, with its value; else PRESENT.
    """
    if all(cells):
        return rows
    return bytes(
        status if cell or status == FeatureStatus.NOT_FOUND else FeatureStatus.NULL_VALUE
        for status, cell in zip(rows, cells, strict=True)
    )
