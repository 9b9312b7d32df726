"""Defines the service's tables.

Bars and rows are read and written by the hundred thousand, so their times are microseconds since 1970 UTC:
a column of integers reaches a data frame without a Python object per value.
"""

from mltrainer_common.database import UtcDateTime
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()
_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")

bar = Table(
    "bar",
    METADATA,
    Column("symbol", String, primary_key=True),
    Column("event_time", BigInteger, primary_key=True),
    Column("knowledge_time", BigInteger, primary_key=True),
    Column("close", Float, nullable=False),
    Column("open", Float),
    Column("high", Float),
    Column("low", Float),
    Column("volume", Float),
    Column("adjusted", Boolean, nullable=False),
    Index("bar_event_time", "event_time"),
)
# What the first bar of a symbol said; bars that say otherwise are refused.
price_basis = Table(
    "price_basis",
    METADATA,
    Column("symbol", String, primary_key=True),
    Column("adjusted", Boolean, nullable=False),
)
quarantined_bar = Table(
    "quarantined_bar",
    METADATA,
    Column("id", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("source", String, nullable=False),
    Column("symbol", String),
    Column("event_time", BigInteger),
    Column("knowledge_time", BigInteger),
    Column("close", Float),
    Column("open", Float),
    Column("high", Float),
    Column("low", Float),
    Column("volume", Float),
    Column("adjusted", Boolean, nullable=False),
    Column("reason", String, nullable=False),
    Column("field", String, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
)
# Rows of one event time that became known together; `features` holds float64, a line per symbol.
row_block = Table(
    "row_block",
    METADATA,
    Column("event_time", BigInteger, primary_key=True),
    Column("created_time", BigInteger, primary_key=True),
    Column("row_count", Integer, nullable=False),
    Column("symbols", Text, nullable=False),
    Column("features", LargeBinary, nullable=False),
)
online_row = Table(
    "online_row",
    METADATA,
    Column("symbol", String, primary_key=True),
    Column("event_time", BigInteger, nullable=False),
    Column("created_time", BigInteger, nullable=False),
    Column("log_revision", BigInteger, nullable=False),
    Column("features", LargeBinary, nullable=False),
    Index("online_row_log_revision", "log_revision"),
)
store_state = Table(
    "store_state",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("layout_digest", String, nullable=False),
    Column("decision_delay_s", Integer, nullable=False),
    Column("latest_event_time", UtcDateTime),
    Column("sealed_time", UtcDateTime),
)
view_state = Table(
    "view_state",
    METADATA,
    Column("name", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("definition_digest", String, nullable=False),
    Column("data_revision", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("log_revision", BigInteger, nullable=False),
)
dataset = Table(
    "dataset",
    METADATA,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False, unique=True),
    Column("spec", Text, nullable=False),
    Column("view_revisions", Text, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("revision", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("uri", String, nullable=False),
    Column("row_count", BigInteger, nullable=False),
    Column("progress", Float, nullable=False),
    Column("error", String, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("universe", Text),
    Column("used_time", UtcDateTime),
)
bar_import = Table(
    "bar_import",
    METADATA,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False, unique=True),
    Column("sha256", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("next_row", BigInteger, nullable=False),
    Column("accepted_count", BigInteger, nullable=False),
    Column("refused_count", BigInteger, nullable=False),
    Column("problems", Text, nullable=False),
    Column("error", String, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
)
# On-demand views and feature services that were applied; of stored views, those that were removed.
definition = Table(
    "definition",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("is_removed", Boolean, nullable=False),
    Column("content", Text, nullable=False),
)
served_vector = Table(
    "served_vector",
    METADATA,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    Column("event_id", String, nullable=False),
    Column("row_number", Integer, nullable=False),
    Column("version", String, nullable=False),
    Column("symbol", String, nullable=False),
    Column("event_time", BigInteger),
    Column("served_time", BigInteger, nullable=False),
    Column("feature_names", Text, nullable=False),
    Column("features", LargeBinary, nullable=False),
    UniqueConstraint("event_id", "row_number", name="served_vector_event"),
)
