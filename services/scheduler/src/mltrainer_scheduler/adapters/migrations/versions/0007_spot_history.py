"""Adds when spot machines of a pool were to be had and when they were not."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "spot_run",
        sa.Column("zone", sa.String, primary_key=True),
        sa.Column("gpu_type", sa.String, primary_key=True),
        sa.Column("begin_time", UtcDateTime, primary_key=True),
        sa.Column("end_time", UtcDateTime, nullable=False),
        sa.Column("available", sa.Boolean, nullable=False),
    )
    op.create_index("spot_run_end", "spot_run", ["end_time"])
