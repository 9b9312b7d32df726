"""Describes the tables that the migrations make."""

from mltrainer_common.database import UtcDateTime
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

_metadata = MetaData()

# The amounts beside `spec` are what placement reads, so that it decodes no specification.
training = Table(
    "training",
    _metadata,
    Column("name", String, primary_key=True),
    Column("request_id", String),
    Column("study", String),
    Column("propose_alias", String),
    Column("spec", LargeBinary),
    Column("state", String),
    Column("queue", String),
    Column("priority", Integer),
    Column("cpu_millis", BigInteger),
    Column("memory_bytes", BigInteger),
    Column("gpu_millis", BigInteger),
    Column("gpu_type", String),
    Column("gang_workers", Integer),
    Column("allows_spot", Boolean),
    Column("deadline_time", UtcDateTime),
    Column("create_time", UtcDateTime),
    Column("ready_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("computation_key", String),
    Column("duplicate_of", String),
    Column("attempt_count", Integer),
    Column("fencing_token", BigInteger),
    Column("reason", String),
    Column("message", String),
    Column("violations", JSON),
    Column("manifest_digest", String),
    Column("verdict", String),
    Column("revision", BigInteger),
    Column("traceparent", String),
    Column("attained_s", Float),
    Column("checkpoint_interval_s", Float),
    Column("preemption_count", BigInteger),
    Column("wait_begin_time", UtcDateTime),
    Column("begin_time", UtcDateTime),
    # Revision of the replicated tables that the key was computed from.
    Column("knowledge", BigInteger),
    Column("audit_of", String),
    # Revision of the cluster at which the row last changed: planning follows it.
    Column("change", BigInteger),
)
computation = Table(
    "computation",
    _metadata,
    Column("study", String, primary_key=True),
    Column("propose_alias", String, primary_key=True),
    Column("computation_key", String, primary_key=True),
    Column("leader", String),
    Column("manifest_digest", String),
    Column("revision", BigInteger),
    Column("model_digest", String),
    Column("scores_digest", String),
    Column("cpu_seconds", Float),
    Column("cost_usd", Float),
    Column("finish_time", UtcDateTime),
)
# What keys were computed from, compressed, to explain why a result was not taken.
computation_inputs = Table(
    "computation_inputs",
    _metadata,
    Column("computation_key", String, primary_key=True),
    Column("document", LargeBinary),
)
node = Table(
    "node",
    _metadata,
    Column("name", String, primary_key=True),
    Column("cpu_millis", BigInteger),
    Column("memory_bytes", BigInteger),
    Column("gpu_millis", BigInteger),
    Column("gpu_type", String),
    Column("schedulable", Boolean),
    Column("spot", Boolean),
    Column("zone", String),
    Column("revision", BigInteger),
    Column("seen_time", UtcDateTime),
    Column("change", BigInteger),
)
allocation = Table(
    "allocation",
    _metadata,
    Column("name", String, primary_key=True),
    Column("training", String),
    Column("attempt", Integer),
    Column("node", String),
    Column("workers", Integer),
    Column("spot", Boolean),
    Column("fencing_token", BigInteger),
    Column("lease_expire_time", UtcDateTime),
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("end_reason", String),
    Column("stage", String),
    Column("progress", Float),
    Column("progress_revision", BigInteger),
    Column("checkpoint_time", UtcDateTime),
    Column("checkpoint_heard_time", UtcDateTime),
    Column("device", Integer),
)
# One row: every transaction that changes a training, a node or a queue counts its revision up first, so that
# such transactions follow one another and a plan is carried out on exactly the state it was made for.
cluster = Table(
    "cluster",
    _metadata,
    Column("name", String, primary_key=True),
    Column("revision", BigInteger),
    Column("queues_change", BigInteger),
    Column("use_change", BigInteger),
    Column("knowledge", BigInteger),
    Column("duration_count", BigInteger),
)
queue = Table(
    "queue",
    _metadata,
    Column("name", String, primary_key=True),
    Column("parent", String),
    Column("weight", Float),
    Column("guaranteed_cpu_millis", BigInteger),
    Column("guaranteed_memory_bytes", BigInteger),
    Column("guaranteed_gpu_millis", BigInteger),
    Column("ceiling_cpu_millis", BigInteger),
    Column("ceiling_memory_bytes", BigInteger),
    Column("ceiling_gpu_millis", BigInteger),
)
# Amounts times seconds of ended allocations, faded to `time_s`.
queue_use = Table(
    "queue_use",
    _metadata,
    Column("queue", String, primary_key=True),
    Column("cpu_millis_s", Float),
    Column("memory_bytes_s", Float),
    Column("gpu_millis_s", Float),
    Column("time_s", Float),
)
# How long trainings took, numbered from 1 without gaps.
duration = Table(
    "duration",
    _metadata,
    Column("number", BigInteger, primary_key=True),
    Column("kind", String),
    Column("gpus", Float),
    Column("wall_s", Float),
    Column("submit_s", Float),
)
# Of each pool the last runs in which every look found the same.
spot_run = Table(
    "spot_run",
    _metadata,
    Column("zone", String, primary_key=True),
    Column("gpu_type", String, primary_key=True),
    Column("begin_time", UtcDateTime, primary_key=True),
    Column("end_time", UtcDateTime),
    Column("available", Boolean),
)
leader = Table(
    "leader",
    _metadata,
    Column("name", String, primary_key=True),
    Column("holder", String),
    Column("term", BigInteger),
    Column("expire_time", UtcDateTime),
)
trainer_release = Table(
    "trainer_release",
    _metadata,
    Column("trainer", String, primary_key=True),
    Column("code_digest", String),
    Column("environment_digest", String),
    Column("entries", JSON),
    Column("revision", BigInteger),
    Column("received_time", UtcDateTime),
)
view_version = Table(
    "view_version",
    _metadata,
    Column("feature_view", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition_digest", String),
    Column("data_revision", BigInteger),
    Column("revision", BigInteger),
)
