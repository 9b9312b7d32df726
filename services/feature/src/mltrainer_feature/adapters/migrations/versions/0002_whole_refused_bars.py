"""Keeps refused bars whole, so that they can be judged again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name in ("open", "high", "low", "volume"):
        op.add_column("quarantined_bar", sa.Column(name, sa.Float))
    op.add_column(
        "quarantined_bar", sa.Column("adjusted", sa.Boolean, nullable=False, server_default=sa.false())
    )
