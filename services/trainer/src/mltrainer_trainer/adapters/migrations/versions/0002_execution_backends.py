"""Names the execution of an attempt on whatever machine, and what its workers need beside cores and memory.

The columns `pid` and `process_start_mark` stay for a trainer of the release before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("attempt", sa.Column("execution_id", sa.String))
    op.add_column("attempt", sa.Column("gpus", sa.Float, nullable=False, server_default="0"))
    op.add_column("attempt", sa.Column("gpu_type", sa.String, nullable=False, server_default=""))
    op.add_column("attempt", sa.Column("workers", sa.Integer, nullable=False, server_default="1"))
    op.add_column("attempt", sa.Column("allows_spot", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("attempt", sa.Column("queue", sa.String, nullable=False, server_default="default"))
    op.execute(
        "UPDATE attempt SET execution_id = CAST(pid AS VARCHAR) || '.' || process_start_mark "
        "WHERE pid IS NOT NULL"
    )
