"""Creates experiments, exposures, outcomes and decided results."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime
from mltrainer_messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    _create_experiments()
    _create_observations()


def _create_experiments() -> None:
    op.create_table(
        "experiment",
        sa.Column("experiment_id", sa.String, primary_key=True),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("variants", sa.Text, nullable=False),
        sa.Column("metric", sa.String, nullable=False),
        sa.Column("traffic", sa.Float, nullable=False),
        sa.Column("alpha", sa.Float, nullable=False),
        sa.Column("max_loss", sa.Float, nullable=False),
        sa.Column("salt", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
        sa.Column("decision", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("experiment_request", "experiment", ["request_id"])
    is_active = sa.text("state = 'ACTIVE'")
    op.create_index(
        "experiment_active_of_model",
        "experiment",
        ["model"],
        unique=True,
        sqlite_where=is_active,
        postgresql_where=is_active,
    )
    op.create_table(
        "decided_result",
        sa.Column("experiment_id", sa.String, primary_key=True),
        sa.Column("result", sa.Text, nullable=False),
    )


def _create_observations() -> None:
    op.create_table(
        "exposure",
        sa.Column("experiment_id", sa.String, primary_key=True),
        sa.Column("unit", sa.String, primary_key=True),
        sa.Column("variant", sa.String, nullable=False),
        sa.Column("expose_time", UtcDateTime, nullable=False),
        sa.Column("source", sa.String, nullable=False),
    )
    op.create_table(
        "outcome",
        sa.Column("experiment_id", sa.String, primary_key=True),
        sa.Column("outcome_id", sa.String, primary_key=True),
        sa.Column("unit", sa.String, nullable=False),
        sa.Column("event_day", sa.Date, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
    )
    op.create_index("outcome_unit", "outcome", ["experiment_id", "unit"])
