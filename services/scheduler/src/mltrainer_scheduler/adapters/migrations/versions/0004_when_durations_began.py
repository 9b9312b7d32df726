"""Adds when finished trainings were asked for: those of one campaign last alike."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("duration", sa.Column("submit_s", sa.Float))
