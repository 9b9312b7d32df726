"""Keeps a sample of the vectors that models were given."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "served_vector",
        sa.Column("sequence", sequence, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("row_number", sa.Integer, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("symbol", sa.String, nullable=False),
        sa.Column("event_time", sa.BigInteger),
        sa.Column("served_time", sa.BigInteger, nullable=False),
        sa.Column("feature_names", sa.Text, nullable=False),
        sa.Column("features", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("event_id", "row_number", name="served_vector_event"),
    )
