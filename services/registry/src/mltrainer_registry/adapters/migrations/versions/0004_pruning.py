"""Remembers up to which revision the change log was pruned, and finds entries by their time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    pruned = sa.Column("pruned_revision", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("registry_head", pruned)
    op.create_index("change_time", "change", ["change_time"])
