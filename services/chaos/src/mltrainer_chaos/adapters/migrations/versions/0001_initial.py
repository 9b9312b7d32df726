"""Creates runs with their faults and probes, holds on targets, and the kill switch."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime
from mltrainer_messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    _create_runs()
    _create_faults()
    op.create_table(
        "target_hold",
        sa.Column("target", sa.String, primary_key=True),
        sa.Column("run", sa.String, nullable=False, index=True),
    )
    op.create_table(
        "kill_switch_change",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("is_on", sa.Boolean, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("change_time", UtcDateTime, nullable=False),
    )


def _create_runs() -> None:
    op.create_table(
        "run",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("ordinal", sa.BigInteger, nullable=False, unique=True),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("experiment_json", sa.Text, nullable=False),
        sa.Column("targets", sa.JSON, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("request_id", sa.String, unique=True),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
        sa.Column("verdict", sa.String),
        sa.Column("explanation", sa.Text),
        sa.Column("recovery_s", sa.Float),
        sa.Column("journal", sa.JSON),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )


def _create_faults() -> None:
    op.create_table(
        "fault",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("run", sa.String, nullable=False, index=True),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("start_mark", sa.String, nullable=False),
        sa.Column("inject_time", UtcDateTime, nullable=False),
        sa.Column("lease_expire_time", UtcDateTime, nullable=False),
        sa.Column("revert_time", UtcDateTime, index=True),
    )
    op.create_table(
        "probe_record",
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("probe", sa.String, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("output", sa.String, nullable=False),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("probe_time", UtcDateTime, nullable=False),
    )
