"""Keeps what attempts have finished for those that come after them, and how far searches are."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "finished_step",
        sa.Column("training", sa.String, primary_key=True),
        sa.Column("computation_key", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("content_sha256", sa.String, nullable=False),
        sa.Column("cpu_seconds", sa.Float, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_index("finished_step_create_time", "finished_step", ["create_time"])
    op.add_column("attempt", sa.Column("trials_done", sa.Integer))
    op.add_column("attempt", sa.Column("trials_total", sa.Integer))
    op.add_column("attempt", sa.Column("best_objective", sa.Float))
    op.add_column("attempt", sa.Column("checkpoint_time", UtcDateTime))
    op.add_column("attempt", sa.Column("shares", sa.JSON, nullable=False, server_default="[]"))
