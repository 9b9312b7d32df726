"""Reads and writes for many deliveries what one statement each can."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mltrainer_common.database import upsert
from sqlalchemy import (
    BigInteger,
    Column,
    CompoundSelect,
    Select,
    Text,
    bindparam,
    cast,
    literal,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.rows import Row, read_manifest
from mltrainer_registry.application.ports import DeliveryFacts, DeliveryKey
from mltrainer_registry.domain.names import VersionName


def _part(kind: str, key: Column[Any], among: str, **columns: Any) -> Select[Any]:
    values: dict[str, Any] = {
        "number": literal(0, BigInteger),
        "text": literal("", Text),
        "detail": literal("", Text),
    }
    shown = [value.label(name) for name, value in (values | columns).items()]
    condition = key.in_(bindparam(among, expanding=True))
    return select(literal(kind, Text).label("kind"), cast(key, Text).label("key"), *shown).where(condition)


def _facts() -> CompoundSelect[Any]:
    version, fence = tables.model_version.c, tables.training_fence.c
    upload, model = tables.upload.c, tables.model.c
    return union_all(
        _part(
            "version",
            version.training,
            "trainings",
            number=cast(version.number, BigInteger),
            text=version.model,
        ),
        _part("fence", fence.training, "trainings", number=fence.lowest_token),
        _part(
            "upload", upload.training, "trainings", text=upload.manifest, detail=upload.manifest_digest
        ).where(upload.is_complete),
        _part("model", model.model, "models", number=cast(model.version_count, BigInteger)),
    )


_FACTS = _facts()


@dataclass(frozen=True, slots=True)
class SqlDeliveryRepository:
    """Answers for all deliveries of a transaction together."""

    connection: AsyncConnection

    async def facts(self, keys: Sequence[DeliveryKey]) -> DeliveryFacts:
        """Returns what decides the deliveries, in one round trip."""
        trainings = {key.training for key in keys}
        rows = await self.connection.execute(
            _FACTS, {"trainings": list(trainings), "models": list({key.model for key in keys})}
        )
        found: dict[str, list[Row]] = {"version": [], "fence": [], "upload": [], "model": []}
        for row in rows:
            found[row.kind].append(row)
        wanted = {(key.training, key.manifest_digest) for key in keys}
        return DeliveryFacts(
            versions={row.key: VersionName(row.text, row.number) for row in found["version"]},
            lowest_tokens={row.key: row.number for row in found["fence"]},
            manifests={
                (row.key, row.detail): read_manifest(row.text)
                for row in found["upload"]
                if (row.key, row.detail) in wanted
            },
            version_counts={row.key: row.number for row in found["model"]},
        )

    async def refuse_below(self, tokens: Mapping[str, int]) -> None:
        """Refuses lower tokens of trainings from now on; never goes back."""
        if not tokens:
            return
        table = tables.training_fence
        row = upsert(self.connection, table)
        raised = row.on_conflict_do_update(
            index_elements=[table.c.training],
            set_={"lowest_token": row.excluded.lowest_token},
            where=table.c.lowest_token < row.excluded.lowest_token,
        )
        rows = [{"training": training, "lowest_token": token} for training, token in tokens.items()]
        await self.connection.execute(raised, rows)
