"""Names the tables of chaos as the code uses them; the migrations create them."""

from mltrainer_common.database import UtcDateTime
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Integer, MetaData, String, Table, Text

_metadata = MetaData()

run = Table(
    "run",
    _metadata,
    Column("name", String, primary_key=True),
    Column("ordinal", BigInteger),
    Column("title", String),
    Column("experiment_json", Text),
    Column("targets", JSON),
    Column("actor", String),
    Column("reason", String),
    Column("create_time", UtcDateTime),
    Column("state", String),
    Column("request_id", String),
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("verdict", String),
    Column("explanation", Text),
    Column("recovery_s", Float),
    Column("journal", JSON),
    Column("revision", BigInteger),
)
fault = Table(
    "fault",
    _metadata,
    Column("id", String, primary_key=True),
    Column("run", String),
    Column("action", String),
    Column("kind", String),
    Column("target", String),
    Column("pid", Integer),
    Column("start_mark", String),
    Column("inject_time", UtcDateTime),
    Column("lease_expire_time", UtcDateTime),
    Column("revert_time", UtcDateTime),
)
probe_record = Table(
    "probe_record",
    _metadata,
    Column("run", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("probe", String),
    Column("phase", String),
    Column("passed", Boolean),
    Column("output", String),
    Column("duration_ms", Float),
    Column("probe_time", UtcDateTime),
)
target_hold = Table(
    "target_hold",
    _metadata,
    Column("target", String, primary_key=True),
    Column("run", String),
)
kill_switch_change = Table(
    "kill_switch_change",
    _metadata,
    Column("number", Integer, primary_key=True),
    Column("is_on", Boolean),
    Column("actor", String),
    Column("reason", String),
    Column("change_time", UtcDateTime),
)
