"""Adds what audits compare beside models."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("computation", sa.Column("scores_digest", sa.String, nullable=False, server_default=""))
