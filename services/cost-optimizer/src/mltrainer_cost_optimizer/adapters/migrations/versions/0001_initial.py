"""Creates the ledger: allocations, their rates, and waste findings."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime
from mltrainer_messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_messaging_tables(op)
    ledger = op.create_table(
        "ledger",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(ledger, [{"id": 1, "revision": 0}])
    _create_accounts()
    op.create_table(
        "waste_finding",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("resource", sa.String, nullable=False),
        sa.Column("cost_micros", sa.BigInteger, nullable=False),
        sa.Column("explanation", sa.Text, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_index("waste_finding_order", "waste_finding", ["create_time", "id"])
    op.create_index("waste_finding_resource", "waste_finding", ["resource"])


def _create_accounts() -> None:
    op.create_table(
        "allocation",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("training", sa.String),
        sa.Column("study", sa.String),
        sa.Column("owner", sa.String),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
        sa.Column("end_reason", sa.String),
        sa.Column("used_cpu_us", sa.BigInteger, nullable=False),
        sa.Column("used_gpu_us", sa.BigInteger, nullable=False),
        sa.Column("peak_memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("sample_time", UtcDateTime),
        sa.Column("quiet_since_time", UtcDateTime),
        sa.Column("quiet_since_cpu_us", sa.BigInteger, nullable=False),
    )
    op.create_index("allocation_start", "allocation", ["start_time"])
    op.create_table(
        "rate",
        sa.Column("charge_id", sa.String, primary_key=True),
        sa.Column("allocation", sa.String, nullable=False),
        sa.Column("start_time", UtcDateTime, nullable=False),
        sa.Column("sku_id", sa.String, nullable=False),
        sa.Column("resource", sa.String, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("unit_price_micros", sa.BigInteger, nullable=False),
        sa.Column("list_unit_price_micros", sa.BigInteger, nullable=False),
        sa.Column("price_file", sa.String, nullable=False),
    )
    op.create_index("rate_order", "rate", ["start_time", "charge_id"])
    op.create_index("rate_allocation", "rate", ["allocation"])
