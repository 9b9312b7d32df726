"""Plans online reads: which fields of which keys are fetched, and where each value of the answer then lies.

A plan depends on the list of features alone, never on entities: it is made once per list and schema.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mltrainer_feature.domain.errors import InvalidRequestError, Violation
from mltrainer_feature.domain.online import JoinKey, OnlineFeature, OnlineSchema, OnlineView

_MAX_PLANS = 1_024
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """Views whose rows lie under the same key: they are fetched together."""

    join_keys: tuple[JoinKey, ...]
    project: str
    key_prefix: bytes
    key_suffix: bytes
    fields: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PlannedView:
    """A view of an answer: the group it is fetched with and the place of its event time there."""

    view: OnlineView
    group: int
    time_cell: int


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """A feature of an answer: its view, and the place of its value in the view's group."""

    feature: OnlineFeature
    view: int
    group: int
    cell: int


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How a list of features is read."""

    columns: tuple[PlannedColumn, ...]
    views: tuple[PlannedView, ...]
    groups: tuple[KeyGroup, ...]


def plan_read(features: Sequence[OnlineFeature]) -> ReadPlan:
    """Plans the read of some features, in their order.

    Raises:
        InvalidRequestError: There are none.
    """
    if not features:
        raise InvalidRequestError([Violation("features", "name features or a feature service")])
    views = list(dict.fromkeys(feature.view for feature in features))
    places = [(view.key_prefix, view.key_suffix, view.join_keys) for view in views]
    groups = {place: number for number, place in enumerate(dict.fromkeys(places))}
    fields: list[dict[bytes, int]] = [{} for _ in groups]

    def place(group: int, name: bytes) -> int:
        return fields[group].setdefault(name, len(fields[group]))

    group_of = {view: groups[key] for view, key in zip(views, places, strict=True)}
    number_of = {view: number for number, view in enumerate(views)}
    columns = tuple(
        PlannedColumn(
            feature,
            number_of[feature.view],
            group_of[feature.view],
            place(group_of[feature.view], feature.field),
        )
        for feature in features
    )
    planned_views = tuple(
        PlannedView(view, group_of[view], place(group_of[view], view.time_field)) for view in views
    )
    first = {group_of[view]: view for view in reversed(views)}
    return ReadPlan(columns, planned_views, tuple(_group(first[n], names) for n, names in enumerate(fields)))


def _group(view: OnlineView, fields: dict[bytes, int]) -> KeyGroup:
    return KeyGroup(view.join_keys, view.project, view.key_prefix, view.key_suffix, tuple(fields))


class SchemaSource(Protocol):
    """Tells what can be read now."""

    @property
    def current(self) -> OnlineSchema:
        """Returns the newest schema."""
        ...


class ChangingSchemas(SchemaSource, Protocol):
    """Follows definitions that others change."""

    async def refresh(self) -> None:
        """Takes over what has changed.

        Raises:
            UnreadableRegistryError: What has changed cannot be served.
        """
        ...


class PlanCache(Generic[_T]):
    """Remembers what was made of a list of features until the schema changes."""

    def __init__(self, source: SchemaSource) -> None:
        self._source = source
        self._revision = -1
        self._made: dict[Hashable, _T] = {}

    def get(self, key: Hashable, make: Callable[[OnlineSchema], _T]) -> _T:
        """Returns what was made under a key, or makes it; a failure is not remembered."""
        schema = self._source.current
        if schema.revision != self._revision or len(self._made) >= _MAX_PLANS:
            self._made.clear()
            self._revision = schema.revision
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = make(schema)
        return made
