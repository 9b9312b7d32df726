"""Adds what results are worth, what keys were computed from, and audits."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("training", sa.Column("audit_of", sa.String, nullable=False, server_default=""))
    op.add_column("computation", sa.Column("model_digest", sa.String, nullable=False, server_default=""))
    for name in ("cpu_seconds", "cost_usd"):
        op.add_column("computation", sa.Column(name, sa.Float, nullable=False, server_default="0"))
    op.add_column("computation", sa.Column("finish_time", UtcDateTime))
    op.create_table(
        "computation_inputs",
        sa.Column("computation_key", sa.String, primary_key=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
