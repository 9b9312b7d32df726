"""A small schema and requests of Feast's contract, for the tests of online reads."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from mltrainer_feature.application.online_plans import KeyGroup
from mltrainer_feature.domain.online import Cell, JoinKey, OnlineFeature, OnlineSchema, OnlineView, ValueKind
from mltrainer_feature.wire.feast_stubs import serving_pb2, value_pb2
from mltrainer_feature.wire.online_format import (
    double_cell,
    feature_field,
    key_prefix,
    key_values,
    time_cell,
    time_field,
)

SECOND_US = 1_000_000
PROJECT = "tests"


def view(
    name: str, *keys: str, max_age_us: int | None = 5 * SECOND_US, kind: ValueKind = ValueKind.STRING
) -> OnlineView:
    join_keys = tuple(JoinKey(key, key, kind) for key in sorted(keys))
    prefix = key_prefix([key.stored_name for key in join_keys])
    return OnlineView(name, PROJECT, join_keys, max_age_us, time_field(name), prefix, PROJECT.encode())


def features(owner: OnlineView, *names: str, kind: ValueKind = ValueKind.DOUBLE) -> dict[str, OnlineFeature]:
    return {
        f"{owner.name}:{name}": OnlineFeature(owner, name, kind, feature_field(owner.name, name))
        for name in names
    }


def schema(found: Mapping[str, OnlineFeature], revision: int = 0) -> OnlineSchema:
    keys = frozenset(key.name for feature in found.values() for key in feature.view.join_keys)
    return OnlineSchema(found, {"all_v1": tuple(found.values())}, revision, keys)


def key(owner: OnlineView, *values: Any) -> bytes:
    parts = [key_values(part.kind, [value])[0] for part, value in zip(owner.join_keys, values, strict=True)]
    return owner.key_prefix + b"".join(parts) + owner.key_suffix


def row(owner: OnlineView, time_us: int, values: Mapping[str, float | bytes]) -> dict[bytes, bytes]:
    cells = {
        feature_field(owner.name, name): value if isinstance(value, bytes) else double_cell(value)
        for name, value in values.items()
    }
    return {**cells, owner.time_field: time_cell(time_us)}


def string_cell(text: str) -> bytes:
    return bytes(value_pb2.Value(string_val=text).SerializeToString())


def integer_cell(number: int) -> bytes:
    return bytes(value_pb2.Value(int64_val=number).SerializeToString())


def request(
    references: Sequence[str] = (), *, service: str = "", is_full: bool = False, **entities: Sequence[Any]
) -> Any:
    message = serving_pb2.GetOnlineFeaturesRequest(full_feature_names=is_full)
    if service:
        message.feature_service = service
    else:
        message.features.val.extend(references)
    for name, values in entities.items():
        for value in values:
            field = "string_val" if isinstance(value, str) else "int64_val"
            setattr(message.entities[name].val.add(), field, value)
    return message


class RowsInMemory:
    """Implements `OnlineStore` over rows by key."""

    def __init__(self, rows: Mapping[bytes, Mapping[bytes, bytes]]) -> None:
        self.rows = dict(rows)

    async def read(
        self, groups: Sequence[KeyGroup], keys: Sequence[Sequence[bytes]]
    ) -> list[list[Sequence[Cell]]]:
        return [
            [[self.rows.get(key, {}).get(name) for name in group.fields] for key in wanted]
            for group, wanted in zip(groups, keys, strict=True)
        ]


def as_bits(value: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits
