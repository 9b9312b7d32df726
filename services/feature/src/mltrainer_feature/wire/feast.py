"""Translates Feast's serving messages, laid out as Feast's own servers do: entity columns, then features.

Answers are spliced from the bytes that the store keeps: each value is a `feast.types.Value` already, as in a
reply. Building and serializing a message of a thousand values takes longer than the whole read may.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as field_of
from typing import Any

import numpy as np

from mltrainer_feature.application.on_demand import (
    ComputedColumn,
    Selection,
    compute,
    request_values,
    select_asked,
)
from mltrainer_feature.application.online_plans import PlannedColumn, ReadPlan, plan_read
from mltrainer_feature.application.read_online import OnlineAnswer, ViewRows
from mltrainer_feature.domain.bar_grid import Floats
from mltrainer_feature.domain.errors import InvalidRequestError, UnknownEntityError, Violation
from mltrainer_feature.domain.online import Cell, FeatureStatus, OnlineSchema, ValueKind
from mltrainer_feature.wire.feast_stubs import serving_pb2
from mltrainer_feature.wire.online_format import DOUBLE_BYTES, double_cell, time_cell
from mltrainer_feature.wire.online_keys import row_keys
from mltrainer_feature.wire.online_numbers import READERS
from mltrainer_feature.wire.protobuf_bytes import LENGTHS, field, varint

_METADATA, _RESULT = 1, 2
# The response's `status`, true.
_STATUS = b"\x18\x01"
_VALUE, _STATUSES, _TIME = b"\x0a", b"\x12", b"\x1a"
_DOUBLE = _VALUE + LENGTHS[DOUBLE_BYTES]
_DOUBLES = frozenset({DOUBLE_BYTES})
_RESULT_TAG = b"\x12"
_NUMBERS = frozenset({"double_val", "float_val", "int32_val", "int64_val"})


@dataclass(frozen=True, slots=True)
class FeastPlan:
    """A plan, and what its answers begin with: the names of the features, as a part of the metadata.

    `selection` is None where every feature that is asked for is stored.
    """

    plan: ReadPlan
    names: bytes
    known_keys: frozenset[str]
    needed_keys: frozenset[str]
    selection: Selection | None = None


def plan_key(request: Any) -> tuple[str, bytes, bool]:
    """Returns what a plan depends on."""
    return (request.feature_service, request.features.SerializeToString(), request.full_feature_names)


def make_plan(request: Any, schema: OnlineSchema) -> FeastPlan:
    """Plans the reading of a request's features, whatever its entities.

    Raises:
        InvalidRequestError: Nothing is asked for, or two features get one name.
        UnknownFeatureError, UnknownFeatureServiceError: A name stands for nothing.
    """
    service = request.feature_service
    selection = select_asked(service, list(request.features.val), schema)
    features = selection.stored if selection else schema.service(service)
    outputs = selection.names() if selection else [(one.view.name, one.name) for one in features]
    names = [f"{view}__{name}" if request.full_feature_names else name for view, name in outputs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequestError(
            [Violation("features", f"{twice} is named twice: ask for it once, or for full_feature_names")]
        )
    plan = plan_read(features)
    needed = frozenset(key.name for group in plan.groups for key in group.join_keys)
    encoded = b"".join(field(1, name.encode()) for name in names)
    if selection is None or not selection.computed:
        return FeastPlan(plan, encoded, schema.join_keys | needed, needed)
    return FeastPlan(plan, encoded, schema.join_keys | needed | selection.request_fields, needed, selection)


@dataclass(frozen=True, slots=True)
class FeastRead:
    """The entities of a request: the keys of each group of the plan, and the columns that are repeated.

    `numbers` are what on-demand features need of the request.
    """

    keys: list[list[bytes]]
    row_count: int
    entities: list[tuple[str, bytes]]
    numbers: dict[str, Floats] = field_of(default_factory=dict)


def to_read(request: Any, plan: FeastPlan) -> FeastRead:
    """Reads the entities of a request.

    Raises:
        InvalidRequestError: A column is missing, or has another length or type than it must.
        UnknownEntityError: A column belongs to no entity.
    """
    columns = {name: (column, column.val) for name, column in request.entities.items()}
    for name in columns:
        if name not in plan.known_keys:
            raise UnknownEntityError(name, sorted(plan.known_keys))
    for name in plan.needed_keys:
        if name not in columns:
            raise InvalidRequestError([Violation("entities", f"give the values of the entity {name!r}")])
    counts = {len(values) for _, values in columns.values()}
    if len(counts) > 1:
        raise InvalidRequestError([Violation("entities", "give every entity the same number of values")])
    row_count = counts.pop() if counts else 1
    if not row_count:
        raise InvalidRequestError([Violation(f"entities[{next(iter(columns))}]", "name at least one")])
    values = {
        key.name: _values(key.name, key.kind, columns[key.name][1])
        for group in plan.plan.groups
        for key in group.join_keys
    }
    keys = [row_keys(group, values, row_count) for group in plan.plan.groups]
    echoed = [(name, column.SerializeToString()) for name, (column, _) in columns.items()]
    return FeastRead(keys, row_count, echoed, _numbers(request, plan.selection, row_count))


def _numbers(request: Any, selection: Selection | None, row_count: int) -> dict[str, Floats]:
    if selection is None:
        return {}
    given: dict[str, Floats] = {}
    for name in selection.request_fields:
        # Feast's clients send them as entities or in a map of their own.
        columns = request.request_context if name in request.request_context else request.entities
        if name in columns:
            given[name] = np.array([_number(name, value) for value in columns[name].val], dtype=np.float64)
    return request_values(given, selection.request_fields, row_count, "request_context")


def _number(name: str, value: Any) -> float:
    kind = value.WhichOneof("val")
    if kind not in _NUMBERS:
        raise InvalidRequestError([Violation(f"request_context[{name}]", "give numbers")])
    return float(getattr(value, kind))


def _values(name: str, kind: ValueKind, values: Any) -> list[Any]:
    wanted = kind.value
    found = [getattr(value, wanted) for value in values]
    # Another type reads as empty or zero.
    if not all(found):
        violations = [
            Violation(f"entities[{name}].val[{index}]", f"give a {wanted}")
            for index, value in enumerate(values)
            if value.WhichOneof("val") != wanted
        ]
        if violations:
            raise InvalidRequestError(violations[:20])
    return found


def to_response(plan: FeastPlan, read: FeastRead, answer: OnlineAnswer) -> bytes:
    """Writes an answer; values are absent unless PRESENT or OUTSIDE_MAX_AGE."""
    names = b"".join(field(1, name.encode()) for name, _ in read.entities) + plan.names
    parts = [field(_METADATA, field(1, names))]
    for _, values in read.entities:
        parts.append(field(_RESULT, values + _entity_tail(answer)))
    made = {id(rows): _View(rows) for rows in answer.views}
    views = [made[id(rows)] for rows in answer.views]
    if plan.selection is None:
        for column in answer.plan.columns:
            views[column.view].write(parts, answer, column)
    else:
        for output in plan.selection.outputs:
            if isinstance(output, ComputedColumn):
                parts.append(field(_RESULT, _encode_computed(output, answer, read.numbers)))
            else:
                column = answer.plan.columns[output]
                views[column.view].write(parts, answer, column)
    parts.append(_STATUS)
    return b"".join(parts)


def _entity_tail(answer: OnlineAnswer) -> bytes:
    count, now = answer.row_count, time_cell(answer.now_us)
    statuses = _STATUSES + varint(count) + bytes([FeatureStatus.PRESENT]) * count
    return statuses + field(3, now) * count


class _View:
    """What the columns of one view have in common: their times, mostly their statuses and sizes."""

    __slots__ = ("_double_head", "_rows", "_tail", "_times")

    def __init__(self, rows: ViewRows) -> None:
        self._rows = rows
        times = rows.times
        if times.count(times[0]) == len(times):
            self._times = _time(times[0]) * len(times)
        else:
            self._times = b"".join(map(_time, times))
        self._tail = _tail(rows.statuses, self._times)
        size = len(rows.statuses) * (DOUBLE_BYTES + 2) + len(self._tail)
        self._double_head = _RESULT_TAG + varint(size) + _DOUBLE

    def write(self, parts: list[bytes], answer: OnlineAnswer, column: PlannedColumn) -> None:
        """Appends a column's values, statuses and times."""
        cells: Any = answer.column(column)
        if not all(cells):
            statuses = answer.statuses(column)
            parts.append(field(_RESULT, _encode_values(cells, statuses) + _tail(statuses, self._times)))
        elif set(map(len, cells)) == _DOUBLES:
            parts += (self._double_head, _DOUBLE.join(cells), self._tail)
        else:
            parts.append(field(_RESULT, _encode_values(cells, self._rows.statuses) + self._tail))


def _time(cell: Cell) -> bytes:
    return _TIME + LENGTHS[len(cell)] + cell if cell else _TIME + LENGTHS[0]


def _tail(statuses: bytes, times: bytes) -> bytes:
    return _STATUSES + varint(len(statuses)) + statuses + times


def _encode_values(cells: Sequence[Cell], statuses: bytes) -> bytes:
    parts: list[bytes] = []
    for cell, status in zip(cells, statuses, strict=True):
        value = b"" if cell is None or status == FeatureStatus.NOT_FOUND else cell
        size = len(value)
        parts += (_VALUE, LENGTHS[size] if size < 128 else varint(size), value)
    return b"".join(parts)


def _encode_computed(column: ComputedColumn, answer: OnlineAnswer, numbers: Mapping[str, Floats]) -> bytes:
    computed = compute(column, answer, numbers, READERS)
    cells: list[Cell] = [
        None if np.isnan(value) else double_cell(value) for value in computed.values.tolist()
    ]
    times = [None if time_us is None else time_cell(time_us) for time_us in computed.times_us]
    return _encode_values(cells, computed.statuses) + _tail(computed.statuses, b"".join(map(_time, times)))


def serving_info(version: str) -> bytes:
    """Writes which Feast's contract is served."""
    return bytes(serving_pb2.GetFeastServingInfoResponse(version=version).SerializeToString())
