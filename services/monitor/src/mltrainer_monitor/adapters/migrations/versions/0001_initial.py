"""Makes the first tables."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime
from mltrainer_messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    _create_models()
    _create_objectives()


def _create_models() -> None:
    op.create_table(
        "model",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("evaluated_revision", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("report", sa.JSON),
        sa.Column("is_alarmed", sa.Boolean, nullable=False),
        sa.Column("drift_revision", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "version",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("reference_digest", sa.String, nullable=False),
    )
    op.create_table(
        "answering",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("feature_names", sa.JSON, nullable=False),
        sa.Column("last_time", UtcDateTime, nullable=False),
        sa.Column("champion_time", UtcDateTime),
    )
    op.create_table(
        "prediction",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("event_time", UtcDateTime, primary_key=True),
        sa.Column("symbol", sa.String, primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("features", sa.LargeBinary, nullable=False),
        sa.Column("predict_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "label",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("event_time", UtcDateTime, primary_key=True),
        sa.Column("symbol", sa.String, primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("knowledge_time", UtcDateTime, nullable=False),
    )
    op.create_index("prediction_newest", "prediction", ["model", "event_time"])


def _create_objectives() -> None:
    op.create_table(
        "reading",
        sa.Column("service", sa.String, primary_key=True),
        sa.Column("instance", sa.String, primary_key=True),
        sa.Column("process_start_s", sa.Float, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
    )
    op.create_table(
        "look",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("time_s", sa.Float, nullable=False),
    )
    op.create_table(
        "sample",
        sa.Column("start_s", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("service", sa.String, primary_key=True),
        sa.Column("indicator", sa.String, primary_key=True),
        sa.Column("good", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "objective",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("is_burning", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
