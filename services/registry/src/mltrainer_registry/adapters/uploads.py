"""Remembers which content is claimed: by uploads for a while, by versions for good."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mltrainer_common.database import upsert
from sqlalchemy import and_, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.rows import Row, manifest_json
from mltrainer_registry.application.ports import ExpiredUploads, UploadClaim
from mltrainer_registry.domain.manifests import ArtifactFile


async def find_claimed(connection: AsyncConnection, digests: Sequence[str]) -> frozenset[str]:
    """Returns those of the digests that an upload claims."""
    column = tables.upload_file.c.sha256
    rows = await connection.execute(select(column).where(column.in_(digests)).distinct())
    return frozenset(rows.scalars())


@dataclass(frozen=True, slots=True)
class SqlUploadRepository:
    """Counts, per model, every content once."""

    connection: AsyncConnection

    async def claim(self, claim: UploadClaim) -> None:
        """Claims the files of an upload, or renews the claim."""
        table, digest = tables.upload, claim.manifest.digest
        row = upsert(self.connection, table).values(
            training=claim.training,
            manifest_digest=digest,
            manifest=manifest_json(claim.manifest),
            model=claim.model,
            is_complete=False,
            renew_time=claim.time,
        )
        renewed = row.on_conflict_do_update(
            index_elements=[table.c.training, table.c.manifest_digest], set_={"renew_time": claim.time}
        ).returning(table.c.model)
        model = (await self.connection.execute(renewed)).scalar_one()
        if await self._has_files(claim.training, digest):
            return
        _, added_bytes = await self.usage(model, claim.manifest.files)
        sizes = {file.sha256: file.size_bytes for file in claim.manifest.files}
        key = {"training": claim.training, "manifest_digest": digest, "model": model}
        rows = [{**key, "sha256": sha256, "size_bytes": size} for sha256, size in sizes.items()]
        await self.connection.execute(insert(tables.upload_file), rows)
        await self._add_usage(model, added_bytes)

    async def complete(self, training: str, digest: str) -> None:
        """Lets a version be made of the upload."""
        table = tables.upload
        here = and_(table.c.training == training, table.c.manifest_digest == digest)
        await self.connection.execute(update(table).where(here).values(is_complete=True))

    async def usage(self, model: str, files: Sequence[ArtifactFile]) -> tuple[int, int]:
        """Returns the bytes that a model holds, and those that the files would add."""
        table, usage = tables.upload_file, tables.model_usage
        sizes = {file.sha256: file.size_bytes for file in files}
        known = select(table.c.sha256).where(and_(table.c.model == model, table.c.sha256.in_(sizes)))
        for sha256 in (await self.connection.execute(known.distinct())).scalars():
            del sizes[sha256]
        used = select(usage.c.content_bytes).where(usage.c.model == model)
        return (await self.connection.execute(used)).scalar_one_or_none() or 0, sum(sizes.values())

    async def expire(self, before: datetime, limit: int) -> ExpiredUploads:
        """Gives up claims from before a time; those of versions last for good."""
        upload, version = tables.upload, tables.model_version
        statement = (
            select(upload.c.training, upload.c.manifest_digest, version.c.manifest)
            .select_from(upload.outerjoin(version, version.c.training == upload.c.training))
            .where(upload.c.renew_time < before)
            .order_by(upload.c.renew_time)
            .limit(limit)
        )
        rows = (await self.connection.execute(statement)).all()
        lasting = [(row.training, row.manifest_digest) for row in rows if _is_of_version(row)]
        given_up = [(row.training, row.manifest_digest) for row in rows if not _is_of_version(row)]
        key = tuple_(upload.c.training, upload.c.manifest_digest)
        if lasting:
            # Without a time it is not looked at again.
            await self.connection.execute(update(upload).where(key.in_(lasting)).values(renew_time=None))
        freed = await self._give_up(given_up) if given_up else frozenset()
        return ExpiredUploads(len(rows), len(given_up), freed)

    async def claimed(self, digests: Sequence[str]) -> frozenset[str]:
        """Returns those of the digests that are claimed."""
        return await find_claimed(self.connection, digests)

    async def _has_files(self, training: str, digest: str) -> bool:
        table = tables.upload_file
        here = and_(table.c.training == training, table.c.manifest_digest == digest)
        return (
            await self.connection.execute(select(table.c.sha256).where(here).limit(1))
        ).first() is not None

    async def _give_up(self, uploads: Sequence[tuple[str, str]]) -> frozenset[str]:
        table = tables.upload_file
        of_uploads = tuple_(table.c.training, table.c.manifest_digest).in_(uploads)
        files = (await self.connection.execute(select(table).where(of_uploads))).all()
        await self.connection.execute(delete(table).where(of_uploads))
        upload = tables.upload
        key = tuple_(upload.c.training, upload.c.manifest_digest)
        await self.connection.execute(delete(upload).where(key.in_(uploads)))
        digests = {row.sha256 for row in files}
        column = table.c.sha256
        left = await self.connection.execute(select(table.c.model, column).where(column.in_(digests)))
        still = {(row.model, row.sha256) for row in left}
        released = {(row.model, row.sha256): row.size_bytes for row in files}
        for (model, sha256), size_bytes in released.items():
            if (model, sha256) not in still:
                await self._add_usage(model, -size_bytes)
        return frozenset(digests - {sha256 for _, sha256 in still})

    async def _add_usage(self, model: str, added_bytes: int) -> None:
        if not added_bytes:
            return
        table = tables.model_usage
        row = upsert(self.connection, table).values(model=model, content_bytes=added_bytes)
        total = table.c.content_bytes + added_bytes
        await self.connection.execute(
            row.on_conflict_do_update(index_elements=[table.c.model], set_={"content_bytes": total})
        )


def _is_of_version(row: Row) -> bool:
    return row.manifest is not None and json.loads(row.manifest)["digest"] == row.manifest_digest
