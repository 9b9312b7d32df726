"""Creates attempts, studies and trials."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime
from mltrainer_messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    _create_attempts()
    op.create_table(
        "revoked_allocation",
        sa.Column("allocation", sa.String, primary_key=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("revoke_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "study",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("target_kind", sa.Integer, nullable=False),
        sa.Column("horizon_bars", sa.Integer, nullable=False),
        sa.Column("training_count", sa.Integer, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "study_training",
        sa.Column("study", sa.String, primary_key=True),
        sa.Column("training", sa.String, primary_key=True),
    )
    _create_trials()


def _create_attempts() -> None:
    op.create_table(
        "attempt",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("training", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("allocation", sa.String, nullable=False, unique=True),
        sa.Column("fencing_token", sa.BigInteger, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("study", sa.String, nullable=False),
        sa.Column("computation_key", sa.String, nullable=False),
        sa.Column("as_of_time", UtcDateTime, nullable=False),
        sa.Column("lease_expire_time", UtcDateTime, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("cpus", sa.Float, nullable=False),
        sa.Column("cpu_seconds_limit", sa.Float, nullable=False),
        sa.Column("memory_bytes_limit", sa.BigInteger, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("pid", sa.Integer),
        sa.Column("process_start_mark", sa.String),
        sa.Column("process_gone", sa.Boolean, nullable=False),
        sa.Column("discarded", sa.Boolean, nullable=False),
        sa.Column("accept_time", UtcDateTime, nullable=False),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
        sa.Column("failure_reason", sa.String),
        sa.Column("failure_message", sa.String),
        sa.Column("failure_retryable", sa.Boolean),
        sa.Column("manifest_digest", sa.String),
        sa.Column("reported_key", sa.String),
        sa.Column("result", sa.LargeBinary),
        sa.Column("lineage", sa.LargeBinary),
        sa.Column("used_cpu_seconds", sa.Float),
        sa.Column("used_memory_bytes", sa.BigInteger),
        sa.Column("sample_time", UtcDateTime),
    )
    op.create_index("attempt_training", "attempt", ["training", "fencing_token"])
    op.create_index("attempt_unfinished", "attempt", ["node", "process_gone", "state"])
    op.create_index("attempt_accept_time", "attempt", ["accept_time", "name"])


def _create_trials() -> None:
    identity = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "trial",
        sa.Column("position", identity, primary_key=True, autoincrement=True),
        sa.Column("study", sa.String, nullable=False),
        sa.Column("configuration_digest", sa.String, nullable=False),
        sa.Column("training", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("catalogue_id", sa.String, nullable=False),
        sa.Column("parameters_json", sa.String, nullable=False),
        sa.Column("objective", sa.Float, nullable=False),
        sa.Column("cpu_seconds", sa.Float, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        # The ledger counts a configuration once, whoever evaluates it again.
        sa.UniqueConstraint("study", "configuration_digest", name="trial_configuration"),
    )
