"""Adds retrainings and their runs."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    texts = ("model", "schedule", "time_zone", "calendar", "champion", "challenger", "metric")
    op.create_table(
        "retraining",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in texts),
        sa.Column("on_drift", sa.Boolean, nullable=False),
        sa.Column("is_paused", sa.Boolean, nullable=False),
        sa.Column("test_days", sa.Integer, nullable=False),
        sa.Column("traffic", sa.Float, nullable=False),
        sa.Column("cooldown_s", sa.Float, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("next_run_time", UtcDateTime),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    texts = ("retraining", "cause", "state", "request_id", "training", "version", "experiment", "message")
    position = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "retraining_run",
        sa.Column("position", position, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        *(sa.Column(name, sa.String, nullable=False) for name in texts),
        sa.Column("due_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
    )
    op.create_index("retraining_run_request", "retraining_run", ["request_id"])
    op.create_index("retraining_run_state", "retraining_run", ["state"])
