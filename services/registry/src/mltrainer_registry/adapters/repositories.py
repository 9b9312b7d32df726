"""Reads and remembers inside a write transaction."""

from dataclasses import dataclass

from mltrainer_common.database import upsert
from sqlalchemy import and_, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters import queries, tables
from mltrainer_registry.adapters.rows import (
    read_alias,
    read_manifest,
    read_move,
)
from mltrainer_registry.application.ports import AnsweredRequest
from mltrainer_registry.domain.aliases import Alias, AliasMove
from mltrainer_registry.domain.manifests import Manifest
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.versions import Model, ModelVersion


@dataclass(frozen=True, slots=True)
class SqlModelRepository:
    """Reads models, aliases, policies and answers."""

    connection: AsyncConnection

    async def version_count(self, model: str) -> int:
        """Returns the number of the newest version."""
        statement = select(tables.model.c.version_count).where(tables.model.c.model == model)
        return (await self.connection.execute(statement)).scalar_one_or_none() or 0

    async def model(self, model: str) -> Model | None:
        """Returns a model."""
        wanted = select(tables.model).where(tables.model.c.model == model)
        return next(iter(await queries.find_models(self.connection, wanted)), None)

    async def version(self, name: VersionName) -> ModelVersion | None:
        """Returns a version."""
        return await queries.find_version(self.connection, name)

    async def version_of_training(self, training: str) -> VersionName | None:
        """Names the version that a training made."""
        table = tables.model_version
        statement = select(table.c.model, table.c.number).where(table.c.training == training)
        row = (await self.connection.execute(statement)).one_or_none()
        return VersionName(row.model, row.number) if row else None

    async def alias(self, name: AliasName) -> Alias | None:
        """Returns where an alias points."""
        return await queries.find_alias(self.connection, name)

    async def aliases_of(self, name: VersionName) -> tuple[str, ...]:
        """Names the aliases that point to a version."""
        table = tables.alias
        here = and_(table.c.model == name.model, table.c.number == name.number)
        rows = await self.connection.execute(select(table).where(here).order_by(table.c.alias))
        return tuple(str(read_alias(row).name) for row in rows)

    async def last_move(self, name: AliasName) -> AliasMove | None:
        """Returns the newest entry of an alias's history."""
        table = tables.alias_move
        of_alias = and_(table.c.model == name.model, table.c.alias == name.alias)
        statement = select(table).where(of_alias).order_by(table.c.revision.desc()).limit(1)
        row = (await self.connection.execute(statement)).one_or_none()
        return read_move(row) if row else None

    async def answered(self, request_id: str) -> AnsweredRequest | None:
        """Returns what a request id was answered with."""
        table = tables.answered_request
        row = (
            await self.connection.execute(select(table).where(table.c.request_id == request_id))
        ).one_or_none()
        return AnsweredRequest(row.request_id, row.fingerprint, read_alias(row)) if row else None

    async def remember(self, request: AnsweredRequest) -> None:
        """Keeps an answer for the same request id."""
        answer = request.answer
        row = {
            "request_id": request.request_id,
            "fingerprint": request.fingerprint,
            "model": answer.name.model,
            "alias": answer.name.alias,
            "number": answer.number,
            "update_time": answer.update_time,
            "revision": answer.revision,
        }
        await self.connection.execute(insert(tables.answered_request).values(row))


@dataclass(frozen=True, slots=True)
class SqlTrainingRepository:
    """Remembers which attempts may deliver and what was uploaded."""

    connection: AsyncConnection

    async def lowest_token(self, training: str) -> int:
        """Returns the lowest fencing token that is still accepted."""
        return await queries.find_lowest_token(self.connection, training)

    async def refuse_below(self, training: str, fencing_token: int) -> None:
        """Refuses lower tokens from now on; never goes back."""
        table = tables.training_fence
        row = upsert(self.connection, table).values(training=training, lowest_token=fencing_token)
        raised = row.on_conflict_do_update(
            index_elements=[table.c.training],
            set_={"lowest_token": fencing_token},
            where=table.c.lowest_token < fencing_token,
        )
        await self.connection.execute(raised)

    async def manifest(self, training: str, digest: str) -> Manifest | None:
        """Returns a manifest that the training has uploaded."""
        table = tables.upload
        here = and_(table.c.training == training, table.c.manifest_digest == digest, table.c.is_complete)
        text = (await self.connection.execute(select(table.c.manifest).where(here))).scalar_one_or_none()
        return read_manifest(text) if text else None
