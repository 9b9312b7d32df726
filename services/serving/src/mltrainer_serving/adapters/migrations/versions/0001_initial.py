"""Creates the messaging tables and the table of served aliases."""

import sqlalchemy as sa
from alembic import op
from mltrainer_messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    op.create_table(
        "deployed_alias",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("wanted_json", sa.Text, nullable=False),
        sa.Column("version_json", sa.Text),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("load_time", sa.DateTime(timezone=True)),
        sa.Column("traceparent", sa.String, nullable=False),
    )
