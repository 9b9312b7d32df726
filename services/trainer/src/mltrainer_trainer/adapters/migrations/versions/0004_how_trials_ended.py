"""Keeps how trials ended and their losses by month, which later trainings of the study are judged by."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("trial", sa.Column("outcome", sa.String, nullable=False, server_default="COMPLETE"))
    op.add_column("trial", sa.Column("detail", sa.String, nullable=False, server_default=""))
    op.add_column("trial", sa.Column("monthly_losses", sa.JSON, nullable=False, server_default="[]"))
