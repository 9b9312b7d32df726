"""Makes the keys under which the rows of entities lie."""

from collections.abc import Mapping, Sequence
from typing import Any

from mltrainer_feature.application.online_plans import KeyGroup
from mltrainer_feature.wire.online_format import key_values


def row_keys(group: KeyGroup, values: Mapping[str, Sequence[Any]], row_count: int) -> list[bytes]:
    """Returns a key for each row, from the values of the join keys, which have the join keys' types."""
    prefix, suffix = group.key_prefix, group.key_suffix
    if not group.join_keys:
        return [prefix + suffix] * row_count
    parts = [key_values(key.kind, values[key.name]) for key in group.join_keys]
    if len(parts) == 1:
        return [prefix + part + suffix for part in parts[0]]
    return [prefix + b"".join(row) + suffix for row in zip(*parts, strict=True)]
