"""Reads features that are computed from stored ones and from numbers of the request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mltrainer_features import (
    STORED_REFERENCES,
    OnDemandFeature,
    evaluate_on_demand,
    parse_expression,
)

from mltrainer_feature.application.read_online import OnlineAnswer
from mltrainer_feature.domain.bar_grid import Floats
from mltrainer_feature.domain.errors import InvalidRequestError, Violation
from mltrainer_feature.domain.online import Cell, FeatureStatus, OnlineFeature, OnlineSchema

# A computed value is worth as little as the least of what it reads.
_SEVERITIES = (
    FeatureStatus.PRESENT,
    FeatureStatus.OUTSIDE_MAX_AGE,
    FeatureStatus.NULL_VALUE,
    FeatureStatus.NOT_FOUND,
)
_RANKS = np.zeros(max(_SEVERITIES) + 1, dtype=np.int64)
_RANKS[list(_SEVERITIES)] = range(len(_SEVERITIES))
_STATUSES = np.array(_SEVERITIES, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class ComputedColumn:
    """A feature to compute: where each stored column it reads lies in the plan, and its request fields."""

    view: str
    feature: OnDemandFeature
    inputs: tuple[tuple[str, int], ...]
    request_fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """Returns the name of the feature."""
        return self.feature.name


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for: the stored features to read, and where or how each output is found.

    An output is the place of a stored feature, or a column to compute.
    """

    stored: tuple[OnlineFeature, ...]
    outputs: tuple[int | ComputedColumn, ...]

    @property
    def computed(self) -> tuple[ComputedColumn, ...]:
        """Returns the columns to compute."""
        return tuple(output for output in self.outputs if isinstance(output, ComputedColumn))

    @property
    def request_fields(self) -> frozenset[str]:
        """Names the numbers that the request has to bring."""
        return frozenset(name for column in self.computed for name in column.request_fields)

    def names(self) -> list[tuple[str, str]]:
        """Returns view and feature of every output, in order."""
        return [
            (output.view, output.name)
            if isinstance(output, ComputedColumn)
            else (self.stored[output].view.name, self.stored[output].name)
            for output in self.outputs
        ]


def select(references: Sequence[str], schema: OnlineSchema) -> Selection:
    """Finds stored and computed features by reference; a stored view of the same name comes first.

    Raises:
        FeatureViewRemovedError: A reference names a feature of a view that was removed.
        UnknownFeatureError: A reference names no feature.
    """
    stored: dict[str, int] = {}
    outputs: list[int | ComputedColumn] = []

    def place(reference: str) -> int:
        return stored.setdefault(reference, len(stored))

    for reference in references:
        feature = None if reference in schema.features else schema.computed.get(reference)
        if feature is None:
            outputs.append(place(reference))
            continue
        names = parse_expression(feature.expression).names
        inputs = tuple((name, place(STORED_REFERENCES[name])) for name in names if name in STORED_REFERENCES)
        fields = tuple(name for name in names if name not in STORED_REFERENCES)
        outputs.append(ComputedColumn(reference.partition(":")[0], feature, inputs, fields))
    return Selection(schema.select(list(stored)), tuple(outputs))


def select_asked(service: str, references: Sequence[str], schema: OnlineSchema) -> Selection | None:
    """Finds what a request names: a service if it names one; None for one of stored features alone."""
    if not service:
        return select(references, schema)
    if service in schema.services or service not in schema.lists:
        return None
    return select(schema.lists[service], schema)


@dataclass(frozen=True, slots=True)
class Computed:
    """Values, NaN where there is none, what each is worth, and the oldest event time of its inputs."""

    values: Floats
    statuses: bytes
    times_us: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class CellReaders:
    """Reads numbers and times as the online store keeps them."""

    numbers: Callable[[Sequence[Cell]], Floats]
    times: Callable[[Sequence[Cell]], list[int | None]]


def compute(
    column: ComputedColumn, answer: OnlineAnswer, request: Mapping[str, Floats], readers: CellReaders
) -> Computed:
    """Computes a column of an answer."""
    planned = [answer.plan.columns[place] for _, place in column.inputs]
    columns = {
        name: readers.numbers(answer.column(one))
        for (name, _), one in zip(column.inputs, planned, strict=True)
    }
    columns |= {name: request[name] for name in column.request_fields}
    values = evaluate_on_demand(column.feature, columns)
    ranks = np.zeros(answer.row_count, dtype=np.int64)
    for one in planned:
        ranks = np.maximum(ranks, _RANKS[np.frombuffer(answer.statuses(one), dtype=np.uint8)])
    is_undefined = np.isnan(values) & (ranks < _SEVERITIES.index(FeatureStatus.NULL_VALUE))
    ranks[is_undefined] = _SEVERITIES.index(FeatureStatus.NULL_VALUE)
    values[ranks >= _SEVERITIES.index(FeatureStatus.NULL_VALUE)] = np.nan
    times = [readers.times(answer.views[one.view].times) for one in planned]
    oldest = tuple(_oldest(row) for row in zip(*times, strict=True)) if times else (None,) * answer.row_count
    return Computed(values, _STATUSES[ranks].tobytes(), oldest)


def request_values(
    given: Mapping[str, Floats], wanted: frozenset[str], row_count: int, where: str
) -> dict[str, Floats]:
    """Checks the numbers of a request.

    Raises:
        InvalidRequestError: A field is missing, or has another number of values than there are entities.
    """
    violations = [
        Violation(where, f"give the values of {name!r}, one for each entity")
        for name in sorted(wanted)
        if name not in given or len(given[name]) != row_count
    ]
    if violations:
        raise InvalidRequestError(violations)
    return {name: given[name] for name in wanted}


def _oldest(times_us: Sequence[int | None]) -> int | None:
    known = [time_us for time_us in times_us if time_us is not None]
    return min(known) if len(known) == len(times_us) else None
