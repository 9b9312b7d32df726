"""Keeps definitions in SQL."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mltrainer_common.database import upsert
from mltrainer_features import OnDemandFeature, OnDemandView
from mltrainer_features.definitions import Unit
from mltrainer_features.on_demand import RequestField
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_feature.adapters.tables import definition
from mltrainer_feature.domain.definitions import (
    Content,
    Definition,
    DefinitionKind,
    Definitions,
    FeatureList,
)

_KEY = ("kind", "name")


@dataclass(frozen=True, slots=True)
class SqlDefinitionRepository:
    """Implements `DefinitionRepository`."""

    connection: AsyncConnection

    async def load(self) -> Definitions:
        """Returns all definitions."""
        return Definitions(_read(record) for record in await self.connection.execute(select(definition)))

    async def save(self, definitions: Sequence[Definition]) -> None:
        """Stores definitions, new or changed."""
        for item in definitions:
            content = None if item.content is None else asdict(item.content)
            record = {
                "kind": item.kind.value,
                "name": item.name,
                "version": item.version,
                "revision": item.revision,
                "is_removed": item.is_removed,
                "content": json.dumps(content),
            }
            statement = upsert(self.connection, definition).values(record)
            changed = {name: statement.excluded[name] for name in record if name not in _KEY}
            await self.connection.execute(
                statement.on_conflict_do_update(index_elements=list(_KEY), set_=changed)
            )


def _read(record: Any) -> Definition:
    kind = DefinitionKind(record.kind)
    content = _read_content(kind, json.loads(record.content))
    return Definition(kind, record.name, record.version, record.revision, record.is_removed, content)


def _read_content(kind: DefinitionKind, facts: Any) -> Content | None:
    match kind:
        case DefinitionKind.ON_DEMAND_VIEW:
            fields = [RequestField(**{**one, "unit": Unit(one["unit"])}) for one in facts["request_fields"]]
            features = [OnDemandFeature(**{**one, "unit": Unit(one["unit"])}) for one in facts["features"]]
            return OnDemandView(**{**facts, "request_fields": tuple(fields), "features": tuple(features)})
        case DefinitionKind.FEATURE_SERVICE:
            return FeatureList(**{**facts, "features": tuple(facts["features"])})
        case DefinitionKind.STORED_VIEW:
            return None
