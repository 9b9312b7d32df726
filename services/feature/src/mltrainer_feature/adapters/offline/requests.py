"""What a point-in-time join must fetch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mltrainer_feature.adapters.offline.columns import UnusableColumnError
from mltrainer_feature.adapters.offline.sources import both, time_filter
from mltrainer_feature.domain.point_in_time import Rule


@dataclass(frozen=True, slots=True)
class JoinKey:
    """A key under its names in the entity rows and in the source."""

    entity_column: str
    source_column: str


@dataclass(frozen=True, slots=True)
class Output:
    """A feature under its names in the source and in the result."""

    source_column: str
    name: str


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """What is wanted of one feature view."""

    view_name: str
    dataset: ds.Dataset
    keys: tuple[JoinKey, ...]
    outputs: tuple[Output, ...]
    event_column: str
    created_column: str | None
    max_age: timedelta | None
    is_created_time_honoured: bool

    @property
    def rule(self) -> Rule:
        """When a row of the source counts."""
        age = None if self.max_age is None else self.max_age // timedelta(microseconds=1) * 1_000
        return Rule(age, self.is_created_time_honoured)

    @property
    def columns(self) -> list[str]:
        """The columns of the source that are read."""
        keys = [key.source_column for key in self.keys]
        times = [self.event_column, *([self.created_column] if self.created_column else [])]
        return list(dict.fromkeys([*keys, *times, *(output.source_column for output in self.outputs)]))

    def condition(self, earliest: datetime | None, latest: datetime | None) -> pc.Expression | None:
        """Filters out rows that no moment between two times can see."""
        oldest = None
        if earliest is not None and self.max_age is not None:
            oldest = earliest - min(self.max_age, earliest - datetime.min.replace(tzinfo=earliest.tzinfo))
        events = time_filter(self.dataset.schema, self.event_column, oldest, latest)
        if self.created_column is None or not self.is_created_time_honoured:
            return events
        return both(events, time_filter(self.dataset.schema, self.created_column, None, latest))


def check_entity_columns(schema: pa.Schema, requests: Sequence[ViewRequest]) -> None:
    """Refuses entity rows that lack a join key or already have a column of the result.

    Raises:
        UnusableColumnError: A column is missing or would appear twice.
    """
    present = set(schema.names)
    for request in requests:
        missing = sorted({key.entity_column for key in request.keys} - present)
        if missing:
            raise UnusableColumnError(
                f"the entity rows have no column {', '.join(missing)}: a join key of {request.view_name!r}"
            )
        for output in request.outputs:
            if output.name in present:
                raise UnusableColumnError(
                    f"{output.name!r} of {request.view_name!r} is a column of the entity rows already: "
                    "rename it or ask for full_feature_names"
                )
            present.add(output.name)
