"""Names the tables as the code uses them; the migrations create them."""

from mltrainer_common.database import UtcDateTime
from sqlalchemy import BigInteger, Column, Date, Float, MetaData, String, Table, Text

_metadata = MetaData()

experiment = Table(
    "experiment",
    _metadata,
    Column("experiment_id", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("variants", Text, nullable=False),
    Column("metric", String, nullable=False),
    Column("traffic", Float, nullable=False),
    Column("alpha", Float, nullable=False),
    Column("max_loss", Float, nullable=False),
    Column("salt", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("state", String, nullable=False),
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("decision", String, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
decided_result = Table(
    "decided_result",
    _metadata,
    Column("experiment_id", String, primary_key=True),
    Column("result", Text, nullable=False),
)
exposure = Table(
    "exposure",
    _metadata,
    Column("experiment_id", String, primary_key=True),
    Column("unit", String, primary_key=True),
    Column("variant", String, nullable=False),
    Column("expose_time", UtcDateTime, nullable=False),
    Column("source", String, nullable=False),
)
outcome = Table(
    "outcome",
    _metadata,
    Column("experiment_id", String, primary_key=True),
    Column("outcome_id", String, primary_key=True),
    Column("unit", String, nullable=False),
    Column("event_day", Date, nullable=False),
    Column("value", Float, nullable=False),
)
