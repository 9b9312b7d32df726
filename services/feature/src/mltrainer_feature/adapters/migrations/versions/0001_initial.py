"""Creates the tables of the first release."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime
from mltrainer_messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    create_messaging_tables(op)
    _create_bars()
    _create_rows()
    _create_states()
    _create_work()


def _create_bars() -> None:
    op.create_table(
        "bar",
        sa.Column("symbol", sa.String, primary_key=True),
        sa.Column("event_time", sa.BigInteger, primary_key=True),
        sa.Column("knowledge_time", sa.BigInteger, primary_key=True),
        sa.Column("close", sa.Float, nullable=False),
        *(sa.Column(name, sa.Float) for name in ("open", "high", "low", "volume")),
        sa.Column("adjusted", sa.Boolean, nullable=False),
    )
    op.create_index("bar_event_time", "bar", ["event_time"])
    op.create_table(
        "quarantined_bar",
        sa.Column("id", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("symbol", sa.String),
        sa.Column("event_time", sa.BigInteger),
        sa.Column("knowledge_time", sa.BigInteger),
        sa.Column("close", sa.Float),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("field", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )


def _create_rows() -> None:
    op.create_table(
        "row_block",
        sa.Column("event_time", sa.BigInteger, primary_key=True),
        sa.Column("created_time", sa.BigInteger, primary_key=True),
        sa.Column("row_count", sa.Integer, nullable=False),
        sa.Column("symbols", sa.Text, nullable=False),
        sa.Column("features", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "online_row",
        sa.Column("symbol", sa.String, primary_key=True),
        sa.Column("event_time", sa.BigInteger, nullable=False),
        sa.Column("created_time", sa.BigInteger, nullable=False),
        sa.Column("log_revision", sa.BigInteger, nullable=False),
        sa.Column("features", sa.LargeBinary, nullable=False),
    )
    op.create_index("online_row_log_revision", "online_row", ["log_revision"])


def _create_states() -> None:
    op.create_table(
        "store_state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("layout_digest", sa.String, nullable=False),
        sa.Column("decision_delay_s", sa.Integer, nullable=False),
        sa.Column("latest_event_time", UtcDateTime),
        sa.Column("sealed_time", UtcDateTime),
    )
    op.create_table(
        "view_state",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("definition_digest", sa.String, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("data_revision", "revision", "log_revision")
        ),
    )


def _create_work() -> None:
    op.create_table(
        "dataset",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("view_revisions", sa.Text, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("uri", sa.String, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "bar_import",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("next_row", "accepted_count", "refused_count")
        ),
        sa.Column("problems", sa.Text, nullable=False),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
