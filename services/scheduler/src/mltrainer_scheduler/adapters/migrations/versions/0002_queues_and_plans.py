"""Adds queues, past use, durations, the leader, and what planning needs of trainings and nodes."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime

revision = "0002"
down_revision = "0001"

_UNLIMITED = 1 << 62


def upgrade() -> None:
    _extend("training", sa.Float, "attained_s", "checkpoint_interval_s")
    _extend("training", sa.BigInteger, "preemption_count", "knowledge", "change")
    op.add_column("training", sa.Column("wait_begin_time", UtcDateTime))
    op.add_column("training", sa.Column("begin_time", UtcDateTime))
    op.create_index("training_change", "training", ["change"])
    op.create_index("training_request_state", "training", ["state", "name"])
    op.add_column("allocation", sa.Column("device", sa.Integer, nullable=False, server_default="-1"))
    _extend("node", sa.BigInteger, "change")
    _extend("cluster", sa.BigInteger, "queues_change", "use_change", "knowledge", "duration_count")
    _create_queues()
    op.create_table(
        "duration",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("gpus", sa.Float, nullable=False),
        sa.Column("wall_s", sa.Float, nullable=False),
    )
    op.create_table(
        "leader",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("expire_time", UtcDateTime, nullable=False),
    )


def _extend(table: str, kind: type, *columns: str) -> None:
    for name in columns:
        op.add_column(table, sa.Column(name, kind, nullable=False, server_default="0"))


def _create_queues() -> None:
    amounts = [
        sa.Column(f"{bound}_{resource}", sa.BigInteger, nullable=False, server_default=default)
        for bound, default in (("guaranteed", "0"), ("ceiling", str(_UNLIMITED)))
        for resource in ("cpu_millis", "memory_bytes", "gpu_millis")
    ]
    op.create_table(
        "queue",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("parent", sa.String, nullable=False),
        sa.Column("weight", sa.Float, nullable=False),
        *amounts,
    )
    op.create_table(
        "queue_use",
        sa.Column("queue", sa.String, primary_key=True),
        sa.Column("cpu_millis_s", sa.Float, nullable=False),
        sa.Column("memory_bytes_s", sa.Float, nullable=False),
        sa.Column("gpu_millis_s", sa.Float, nullable=False),
        sa.Column("time_s", sa.Float, nullable=False),
    )
