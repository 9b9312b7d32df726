"""Names the tables as the code uses them; the migrations create them."""

from mltrainer_common.database import UtcDateTime
from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text

_metadata = MetaData()

ledger = Table(
    "ledger",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
allocation = Table(
    "allocation",
    _metadata,
    Column("name", String, primary_key=True),
    Column("training", String),
    Column("study", String),
    Column("owner", String),
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("end_reason", String),
    Column("used_cpu_us", BigInteger, nullable=False),
    Column("used_gpu_us", BigInteger, nullable=False),
    Column("peak_memory_bytes", BigInteger, nullable=False),
    Column("sample_time", UtcDateTime),
    Column("quiet_since_time", UtcDateTime),
    Column("quiet_since_cpu_us", BigInteger, nullable=False),
)
rate = Table(
    "rate",
    _metadata,
    Column("charge_id", String, primary_key=True),
    Column("allocation", String, nullable=False),
    Column("start_time", UtcDateTime, nullable=False),
    Column("sku_id", String, nullable=False),
    Column("resource", String, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("unit_price_micros", BigInteger, nullable=False),
    Column("list_unit_price_micros", BigInteger, nullable=False),
    Column("price_file", String, nullable=False),
)
waste_finding = Table(
    "waste_finding",
    _metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("resource", String, nullable=False),
    Column("cost_micros", BigInteger, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
)
