"""Names the tables of the registry as the code uses them; the migrations create them."""

from mltrainer_common.database import UtcDateTime
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

_metadata = MetaData()
HEAD_ID = 1
"""Names the only row of `registry_head`."""

registry_head = Table(
    "registry_head",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("pruned_revision", BigInteger, nullable=False),
)
model = Table(
    "model",
    _metadata,
    Column("model", String, primary_key=True),
    Column("version_count", Integer, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("details_revision", BigInteger, nullable=False, index=True),
)
model_version = Table(
    "model_version",
    _metadata,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String, nullable=False),
    Column("training", String, nullable=False, unique=True),
    Column("manifest", Text, nullable=False),
    Column("lineage", Text, nullable=False),
    Column("target_kind", String, nullable=False),
    Column("horizon_bars", Integer, nullable=False),
    Column("verdict", String, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("report", LargeBinary, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("state_revision", BigInteger, nullable=False, index=True),
    Column("origin", Text, nullable=False),
    Column("owner", String, nullable=False),
    Column("signature", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", Text, nullable=False),
)
fact = Table(
    "fact",
    _metadata,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", String, primary_key=True),
    Column("amount", Float),
)
alias = Table(
    "alias",
    _metadata,
    Column("model", String, primary_key=True),
    Column("alias", String, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
)
alias_move = Table(
    "alias_move",
    _metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("model", String, nullable=False),
    Column("alias", String, nullable=False),
    Column("from_number", Integer),
    Column("to_number", Integer, nullable=False),
    Column("actor", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("move_time", UtcDateTime, nullable=False),
)
gate_policy_change = Table(
    "gate_policy_change",
    _metadata,
    Column("model", String, primary_key=True),
    Column("alias", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("conditions", Text, nullable=False),
    Column("actor", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
)
promotion = Table(
    "promotion",
    _metadata,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("alias", String, nullable=False),
    Column("version_number", Integer, nullable=False),
    Column("expected_number", Integer),
    Column("state", String, nullable=False),
    Column("requester", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("request_id", String, unique=True),
    Column("create_time", UtcDateTime, nullable=False),
    Column("decider", String, nullable=False),
    Column("decision_reason", String, nullable=False),
    Column("decide_time", UtcDateTime),
    Column("revision", BigInteger, nullable=False, index=True),
)
gate_evaluation = Table(
    "gate_evaluation",
    _metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("model", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("alias", String, nullable=False),
    Column("results", Text, nullable=False),
    Column("evaluate_time", UtcDateTime, nullable=False),
)
change = Table(
    "change",
    _metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("model", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("alias", String, nullable=False),
    Column("change_time", UtcDateTime, nullable=False),
    Column("traceparent", String, nullable=False),
)
training_fence = Table(
    "training_fence",
    _metadata,
    Column("training", String, primary_key=True),
    Column("lowest_token", BigInteger, nullable=False),
)
upload = Table(
    "upload",
    _metadata,
    Column("training", String, primary_key=True),
    Column("manifest_digest", String, primary_key=True),
    Column("manifest", Text, nullable=False),
    Column("model", String, nullable=False),
    Column("is_complete", Boolean, nullable=False),
    Column("renew_time", UtcDateTime, index=True),
)
upload_file = Table(
    "upload_file",
    _metadata,
    Column("training", String, primary_key=True),
    Column("manifest_digest", String, primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
)
model_usage = Table(
    "model_usage",
    _metadata,
    Column("model", String, primary_key=True),
    Column("content_bytes", BigInteger, nullable=False),
)
answered_request = Table(
    "answered_request",
    _metadata,
    Column("request_id", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("model", String, nullable=False),
    Column("alias", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
