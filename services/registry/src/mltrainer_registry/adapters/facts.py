"""Writes what versions are found by: metrics, lineage and tags, one row each."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mltrainer_common.bulk import insert_rows
from sqlalchemy import and_, delete
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters import tables
from mltrainer_registry.domain.versions import Lineage, ModelVersion

METRIC, LINEAGE, TAG = "metric", "lineage", "tag"
OF_MODEL = 0
"""Stands for the number in the tags of a model itself."""
_LINEAGE_FACTS = (
    "study",
    "dataset",
    "dataset_sha256",
    "code_digest",
    "environment_digest",
    "computation_key",
    "parent_version",
)
FEATURE_VIEW_VERSION = "feature_view_version"


def fact_rows(version: ModelVersion) -> list[dict[str, Any]]:
    """Returns the rows of a new version."""
    key = {"model": version.name.model, "number": version.name.number}
    rows = [
        {**key, "kind": METRIC, "name": name, "value": "", "amount": value}
        for name, value in dict(version.result.metrics).items()
        if finite(value) is not None
    ]
    pairs = sorted(set(_lineage_pairs(version.lineage)))
    rows += [{**key, "kind": LINEAGE, "name": name, "value": value, "amount": None} for name, value in pairs]
    return rows + _tag_rows(version.name.model, version.name.number, version.details.tags)


def finite(value: float | None) -> float | None:
    """Returns a metric that can be compared; NaN and infinity cannot, and databases differ about them."""
    return value if value is not None and math.isfinite(value) else None


async def replace_tags(connection: AsyncConnection, model: str, number: int, tags: Mapping[str, str]) -> None:
    """Writes the tags of a version, or of a model where the number is 0, instead of those before."""
    table = tables.fact
    here = and_(table.c.model == model, table.c.number == number, table.c.kind == TAG)
    await connection.execute(delete(table).where(here))
    await insert_rows(connection, table, _tag_rows(model, number, tags))


def _lineage_pairs(lineage: Lineage) -> Iterator[tuple[str, str]]:
    for name in _LINEAGE_FACTS:
        if value := getattr(lineage, name):
            yield name, value
    for view in lineage.feature_view_versions:
        yield FEATURE_VIEW_VERSION, view


def _tag_rows(model: str, number: int, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    key = {"model": model, "number": number, "kind": TAG}
    return [{**key, "name": name, "value": value, "amount": None} for name, value in tags.items()]
