"""Adds the files of each upload and the models they count for, for garbage and quotas; and origins."""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime

revision = "0002"
down_revision = "0001"

_ROWS_PER_INSERT = 1_000


def upgrade() -> None:
    op.add_column("upload", sa.Column("model", sa.String, nullable=False, server_default=""))
    op.add_column("upload", sa.Column("is_complete", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("upload", sa.Column("renew_time", UtcDateTime, nullable=True))
    op.add_column("model_version", sa.Column("origin", sa.Text, nullable=False, server_default=""))
    upload_file = op.create_table(
        "upload_file",
        sa.Column("training", sa.String, primary_key=True),
        sa.Column("manifest_digest", sa.String, primary_key=True),
        sa.Column("sha256", sa.String, primary_key=True),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
    )
    op.create_index("upload_file_sha256", "upload_file", ["sha256", "model"])
    op.create_index("upload_renew_time", "upload", ["renew_time"])
    usage = op.create_table(
        "model_usage",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("content_bytes", sa.BigInteger, nullable=False),
    )
    _fill(upload_file, usage)


def _fill(upload_file: sa.Table, usage: sa.Table) -> None:
    connection = op.get_bind()
    upload = sa.table("upload", *map(sa.column, ("training", "manifest_digest", "manifest", "model")))
    renew_time = sa.column("renew_time", UtcDateTime)
    version = sa.table("model_version", sa.column("training"), sa.column("model"))
    connection.execute(sa.update(sa.table("upload", renew_time)).values(renew_time=datetime.now(UTC)))
    models = {row.training: row.model for row in connection.execute(sa.select(version))}
    contents: dict[tuple[str, str], int] = {}
    rows: list[dict[str, Any]] = []
    for row in connection.execute(sa.select(upload)).all():
        model = models.get(row.training, "")
        sizes = {file["sha256"]: file["size_bytes"] for file in json.loads(row.manifest)["files"]}
        contents.update({(model, sha256): size for sha256, size in sizes.items()})
        keys = {"training": row.training, "manifest_digest": row.manifest_digest, "model": model}
        rows.extend({**keys, "sha256": sha256, "size_bytes": size} for sha256, size in sizes.items())
        here = (upload.c.training == row.training) & (upload.c.manifest_digest == row.manifest_digest)
        connection.execute(sa.update(upload).where(here).values(model=model))
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        op.bulk_insert(upload_file, rows[start : start + _ROWS_PER_INSERT])
    used: dict[str, int] = {}
    for (model, _), size in contents.items():
        used[model] = used.get(model, 0) + size
    op.bulk_insert(usage, [{"model": model, "content_bytes": total} for model, total in used.items()])
