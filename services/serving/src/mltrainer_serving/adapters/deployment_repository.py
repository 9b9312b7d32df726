"""Remembers served aliases in the service's database."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mltrainer_common.database import Database, upsert
from sqlalchemy import Row, select

from mltrainer_serving.adapters.tables import deployed_alias
from mltrainer_serving.domain.deployment import ArtifactFile, DeployedAlias, Version


@dataclass(frozen=True, slots=True)
class SqlDeploymentRepository:
    """Keeps one row per alias."""

    database: Database

    async def load(self) -> Sequence[DeployedAlias]:
        """Returns every alias."""
        async with self.database.snapshot() as connection:
            rows = (await connection.execute(select(deployed_alias))).all()
        return [_from_row(row) for row in rows]

    async def save(self, deployed: DeployedAlias) -> None:
        """Stores one alias; an older revision of it is kept out."""
        values = {
            "model": deployed.model,
            "alias": deployed.alias,
            "wanted_json": _to_json(deployed.wanted),
            "version_json": _to_json(deployed.version) if deployed.version else None,
            "error": deployed.error,
            "revision": deployed.revision,
            "load_time": deployed.load_time,
            "traceparent": deployed.traceparent,
        }
        async with self.database.transaction() as connection:
            statement = upsert(connection, deployed_alias).values(values)
            update = statement.on_conflict_do_update(
                index_elements=["model", "alias"],
                set_=values,
                where=deployed_alias.c.revision <= deployed.revision,
            )
            await connection.execute(update)


def _to_json(version: Version) -> str:
    files = [[file.path, file.sha256] for file in version.files]
    return json.dumps(
        {
            "model": version.model,
            "number": version.number,
            "manifest_digest": version.manifest_digest,
            "files": files,
        }
    )


def _to_version(text: str) -> Version:
    fields = json.loads(text)
    files = tuple(ArtifactFile(path, sha256) for path, sha256 in fields["files"])
    return Version(fields["model"], fields["number"], fields["manifest_digest"], files)


def _from_row(row: Row[Any]) -> DeployedAlias:
    return DeployedAlias(
        model=row.model,
        alias=row.alias,
        wanted=_to_version(row.wanted_json),
        revision=row.revision,
        version=_to_version(row.version_json) if row.version_json else None,
        error=row.error,
        load_time=row.load_time,
        traceparent=row.traceparent,
    )
