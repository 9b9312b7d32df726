"""Makes the first tables."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime
from mltrainer_messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None

_LIVING = sa.text("end_time IS NULL")
_ACTIVE = sa.text("state IN ('QUEUED', 'JOINED')")


def upgrade() -> None:
    create_messaging_tables(op)
    _create_trainings()
    _create_computations()
    _create_allocations()
    _create_replicas()


def _create_trainings() -> None:
    op.create_table(
        "training",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, unique=True),
        sa.Column("study", sa.String, nullable=False),
        sa.Column("propose_alias", sa.String, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("queue", sa.String, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("cpu_millis", sa.BigInteger, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("gpu_millis", sa.BigInteger, nullable=False),
        sa.Column("gpu_type", sa.String, nullable=False),
        sa.Column("gang_workers", sa.Integer, nullable=False),
        sa.Column("allows_spot", sa.Boolean, nullable=False),
        sa.Column("deadline_time", UtcDateTime),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("ready_time", UtcDateTime, nullable=False),
        sa.Column("end_time", UtcDateTime),
        sa.Column("computation_key", sa.String, nullable=False),
        sa.Column("duplicate_of", sa.String, nullable=False),
        sa.Column("attempt_count", sa.Integer, nullable=False),
        sa.Column("fencing_token", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("violations", sa.JSON, nullable=False),
        sa.Column("manifest_digest", sa.String, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("traceparent", sa.String),
    )


def _create_computations() -> None:
    op.create_index("training_study", "training", ["study", "name"])
    op.create_index(
        "training_waiting",
        "training",
        ["state", "queue", "priority", "name"],
        sqlite_where=_ACTIVE,
        postgresql_where=_ACTIVE,
    )
    op.create_table(
        "computation",
        sa.Column("study", sa.String, primary_key=True),
        sa.Column("propose_alias", sa.String, primary_key=True),
        sa.Column("computation_key", sa.String, primary_key=True),
        sa.Column("leader", sa.String, nullable=False),
        sa.Column("manifest_digest", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )


def _create_allocations() -> None:
    op.create_table(
        "allocation",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("training", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("workers", sa.Integer, nullable=False),
        sa.Column("spot", sa.Boolean, nullable=False),
        sa.Column("fencing_token", sa.BigInteger, nullable=False),
        sa.Column("lease_expire_time", UtcDateTime, nullable=False),
        sa.Column("start_time", UtcDateTime, nullable=False),
        sa.Column("end_time", UtcDateTime),
        sa.Column("end_reason", sa.String, nullable=False),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("progress_revision", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "allocation_living", "allocation", ["name"], sqlite_where=_LIVING, postgresql_where=_LIVING
    )
    op.create_index("allocation_training", "allocation", ["training"])
    cluster = op.create_table(
        "cluster",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(cluster, [{"name": "default", "revision": 0}])


def _create_replicas() -> None:
    op.create_table(
        "node",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("cpu_millis", sa.BigInteger, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("gpu_millis", sa.BigInteger, nullable=False),
        sa.Column("gpu_type", sa.String, nullable=False),
        sa.Column("schedulable", sa.Boolean, nullable=False),
        sa.Column("spot", sa.Boolean, nullable=False),
        sa.Column("zone", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("seen_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "trainer_release",
        sa.Column("trainer", sa.String, primary_key=True),
        sa.Column("code_digest", sa.String, nullable=False),
        sa.Column("environment_digest", sa.String, nullable=False),
        sa.Column("entries", sa.JSON, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("received_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "view_version",
        sa.Column("feature_view", sa.String, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("definition_digest", sa.String, nullable=False),
        sa.Column("data_revision", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
