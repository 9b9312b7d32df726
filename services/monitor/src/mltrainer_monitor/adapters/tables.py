"""Describes the tables that the migrations make."""

from mltrainer_common.database import UtcDateTime
from sqlalchemy import (
    JSON,
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
)

metadata = MetaData()

model = Table(
    "model",
    metadata,
    Column("name", String, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("evaluated_revision", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("report", JSON),
    Column("is_alarmed", Boolean, nullable=False),
    Column("drift_revision", BigInteger, nullable=False),
)
version = Table(
    "version",
    metadata,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("reference_digest", String, nullable=False),
)
answering = Table(
    "answering",
    metadata,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("feature_names", JSON, nullable=False),
    Column("last_time", UtcDateTime, nullable=False),
    Column("champion_time", UtcDateTime),
)
prediction = Table(
    "prediction",
    metadata,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("event_time", UtcDateTime, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("value", Float, nullable=False),
    Column("features", LargeBinary, nullable=False),
    Column("predict_time", UtcDateTime, nullable=False),
)
label = Table(
    "label",
    metadata,
    Column("model", String, primary_key=True),
    Column("event_time", UtcDateTime, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("value", Float, nullable=False),
    Column("knowledge_time", UtcDateTime, nullable=False),
)
reading = Table(
    "reading",
    metadata,
    Column("service", String, primary_key=True),
    Column("instance", String, primary_key=True),
    Column("process_start_s", Float, nullable=False),
    Column("counts", JSON, nullable=False),
)
look = Table(
    "look",
    metadata,
    Column("name", String, primary_key=True),
    Column("time_s", Float, nullable=False),
)
# A sample starts at a multiple of its length, ten seconds or an hour, in seconds since the epoch.
sample = Table(
    "sample",
    metadata,
    Column("start_s", BigInteger, primary_key=True, autoincrement=False),
    Column("service", String, primary_key=True),
    Column("indicator", String, primary_key=True),
    Column("good", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
)
objective = Table(
    "objective",
    metadata,
    Column("name", String, primary_key=True),
    Column("is_burning", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
Index("prediction_newest", prediction.c.model, prediction.c.event_time)
