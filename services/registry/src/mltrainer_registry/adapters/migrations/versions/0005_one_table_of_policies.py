"""Drops the policies of before 0003, which moved them into their history and left these for a way back."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_table("gate_policy")
