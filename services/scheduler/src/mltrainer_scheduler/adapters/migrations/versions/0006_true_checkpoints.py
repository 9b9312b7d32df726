"""Adds when the work of an attempt was last made safe, and when that was heard."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime

revision = "0006"
down_revision = "0005"

_HEARD = sa.text("end_time IS NULL AND checkpoint_heard_time IS NOT NULL")


def upgrade() -> None:
    op.add_column("allocation", sa.Column("checkpoint_time", UtcDateTime))
    op.add_column("allocation", sa.Column("checkpoint_heard_time", UtcDateTime))
    op.create_index(
        "allocation_checkpoint",
        "allocation",
        ["checkpoint_heard_time"],
        sqlite_where=_HEARD,
        postgresql_where=_HEARD,
    )
