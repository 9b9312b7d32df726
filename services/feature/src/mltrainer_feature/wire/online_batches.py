"""Translates reads of many entities: values as packed numbers, copied from the bytes that the store keeps."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mltrainer.feature.v1 import online_service_pb2 as online_pb2

from mltrainer_feature.application.on_demand import (
    ComputedColumn,
    Selection,
    compute,
    request_values,
    select_asked,
)
from mltrainer_feature.application.online_plans import PlannedColumn, ReadPlan, plan_read
from mltrainer_feature.application.read_online import OnlineAnswer
from mltrainer_feature.domain.bar_grid import Floats
from mltrainer_feature.domain.errors import InvalidRequestError, UnknownEntityError, Violation
from mltrainer_feature.domain.online import JoinKey, OnlineSchema, ValueKind
from mltrainer_feature.wire.online_format import StoredTimes
from mltrainer_feature.wire.online_keys import row_keys
from mltrainer_feature.wire.online_numbers import READERS
from mltrainer_feature.wire.protobuf_bytes import field, varint

MAX_ENTITIES = 100_000
_UNDEFINED = struct.pack("<d", float("nan"))
_TEXTS = {ValueKind.STRING}
_NUMBERS = {ValueKind.INT32: 31, ValueKind.INT64: 63, ValueKind.UNIX_TIMESTAMP: 63}
_READ_TIMES = StoredTimes()


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A plan, the encoded names of its columns, and the join keys that may and must be given.

    `selection` is None where every feature that is asked for is stored.
    """

    plan: ReadPlan
    names: tuple[bytes, ...]
    known_keys: frozenset[str]
    needed_keys: Mapping[str, JoinKey]
    selection: Selection | None = None


def batch_plan_key(query: online_pb2.OnlineQuery) -> tuple[str, tuple[str, ...]]:
    """Returns what a plan depends on."""
    return (query.feature_service, tuple(query.features))


def make_batch_plan(query: online_pb2.OnlineQuery, schema: OnlineSchema) -> BatchPlan:
    """Plans the reading of a query's features.

    Raises:
        InvalidRequestError: Nothing is asked for, or a feature that is no number.
        UnknownFeatureError, UnknownFeatureServiceError: A name stands for nothing.
    """
    service = query.feature_service
    selection = select_asked(service, list(query.features), schema)
    features = selection.stored if selection else schema.service(service)
    texts = [feature for feature in features if feature.kind is not ValueKind.DOUBLE]
    if texts:
        name = f"{texts[0].view.name}:{texts[0].name}"
        raise InvalidRequestError([Violation("features", f"{name} is no double: read it through Feast's")])
    plan = plan_read(features)
    outputs = selection.names() if selection else [(one.view.name, one.name) for one in features]
    names = tuple(field(1, f"{view}:{name}".encode()) for view, name in outputs)
    needed = {key.name: key for group in plan.groups for key in group.join_keys}
    if selection is None or not selection.computed:
        return BatchPlan(plan, names, schema.join_keys | needed.keys(), needed)
    return BatchPlan(plan, names, schema.join_keys | needed.keys(), needed, selection)


def to_values(query: online_pb2.OnlineQuery, plan: BatchPlan) -> tuple[dict[str, Sequence[object]], int]:
    """Reads the entities of a query: the values of each join key, and their number.

    Raises:
        InvalidRequestError: A column is missing, or has another length or type than it must.
        UnknownEntityError: A column belongs to no entity.
    """
    for name in query.entities:
        if name not in plan.known_keys:
            raise UnknownEntityError(name, sorted(plan.known_keys))
    values = {name: _values(query, key) for name, key in plan.needed_keys.items()}
    counts = set(map(len, values.values())) or {1}
    row_count = min(counts)
    if len(counts) > 1 or not 0 < row_count <= MAX_ENTITIES:
        problem = f"give every join key the same number of values, 1 to {MAX_ENTITIES}"
        raise InvalidRequestError([Violation("entities", problem)])
    return values, row_count


def _values(query: online_pb2.OnlineQuery, key: JoinKey) -> Sequence[object]:
    where = f"entities[{key.name}]"
    if key.name not in query.entities:
        raise InvalidRequestError([Violation("entities", f"give the values of the entity {key.name!r}")])
    given = query.entities[key.name]
    if key.kind in _TEXTS and not given.numbers:
        return list(given.texts)
    bits = _NUMBERS.get(key.kind)
    if bits is None or given.texts:
        wanted = "texts" if key.kind in _TEXTS else "numbers" if bits else "them to Feast's service"
        raise InvalidRequestError([Violation(where, f"give {wanted}")])
    numbers = list(given.numbers)
    if numbers and (max(numbers) >= 1 << bits or min(numbers) < -(1 << bits)):
        raise InvalidRequestError([Violation(where, f"give integers of {bits + 1} bits")])
    return numbers


def to_numbers(query: online_pb2.OnlineQuery, plan: BatchPlan, row_count: int) -> dict[str, Floats]:
    """Reads the numbers that on-demand features need of the request.

    Raises:
        InvalidRequestError: A field is missing, or has another number of values than there are entities.
    """
    if plan.selection is None:
        return {}
    given = {name: np.array(values.values) for name, values in query.request_values.items()}
    return request_values(given, plan.selection.request_fields, row_count, "request_values")


def to_keys(
    plan: BatchPlan, values: Mapping[str, Sequence[object]], first: int, count: int
) -> list[list[bytes]]:
    """Returns the keys of some rows, for each group of the plan."""
    part = {name: column[first : first + count] for name, column in values.items()}
    return [row_keys(group, part, count) for group in plan.plan.groups]


def to_rows(plan: BatchPlan, answer: OnlineAnswer, numbers: Mapping[str, Floats] | None = None) -> bytes:
    """Writes an answer as `OnlineRows`; `numbers` of the request are those of its rows.

    Raises:
        InvalidRequestError: The store keeps something else than doubles.
    """
    parts = [
        field(1, _output(name, answer, column, numbers or {}))
        for name, column in zip(plan.names, _outputs(plan), strict=True)
    ]
    for planned, rows in zip(plan.plan.views, answer.views, strict=True):
        times = online_pb2.OnlineTimes(
            feature_view=planned.view.name,
            event_times_us=[time_us or 0 for time_us in _READ_TIMES(rows.times)],
        )
        parts.append(field(2, times.SerializeToString()))
    return b"".join(parts)


def _outputs(plan: BatchPlan) -> Sequence[PlannedColumn | ComputedColumn]:
    if plan.selection is None:
        return plan.plan.columns
    return [
        output if isinstance(output, ComputedColumn) else plan.plan.columns[output]
        for output in plan.selection.outputs
    ]


def _output(
    name: bytes, answer: OnlineAnswer, column: PlannedColumn | ComputedColumn, numbers: Mapping[str, Floats]
) -> bytes:
    if isinstance(column, PlannedColumn):
        return _column(name, answer, column)
    computed = compute(column, answer, numbers, READERS)
    return name + field(2, computed.values.tobytes()) + field(3, computed.statuses)


def _column(name: bytes, answer: OnlineAnswer, column: PlannedColumn) -> bytes:
    cells, statuses = answer.column(column), answer.statuses(column)
    # A stored double is its tag and eight bytes, which are those of a packed one.
    values = b"".join([cell[1:] if cell else _UNDEFINED for cell in cells])
    if len(values) != 8 * len(statuses):
        feature = column.feature
        problem = f"{feature.view.name}:{feature.name} is stored with another type than double"
        raise InvalidRequestError([Violation("features", problem)])
    return name + field(2, values) + field(3, statuses)


def read_response(rows: bytes) -> bytes:
    """Writes the response of ReadFeatures."""
    return field(1, rows)


def stream_response(rows: bytes, first_row: int, row_count: int) -> bytes:
    """Writes a response of StreamFeatures."""
    return field(1, rows) + b"\x10" + varint(first_row) + b"\x18" + varint(row_count)
