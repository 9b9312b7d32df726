"""Defines the tables of outbox, inbox and consumer progress that live in every service's own database."""

from typing import Any

from mltrainer_common.database import UtcDateTime
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table

_metadata = MetaData()
_identity = BigInteger().with_variant(Integer, "sqlite")

outbox = Table(
    "outbox",
    _metadata,
    Column("id", _identity, primary_key=True, autoincrement=True),
    Column("topic", String, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("headers", String, nullable=False),
)
outbox_lease = Table(
    "outbox_lease",
    _metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("expire_time", UtcDateTime, nullable=False),
)
inbox = Table(
    "inbox",
    _metadata,
    Column("consumer", String, primary_key=True),
    Column("event_id", String, primary_key=True),
    Column("claim_time", UtcDateTime, nullable=False),
    Index("inbox_claim_time", "claim_time"),
)
in_flight = Table(
    "in_flight",
    _metadata,
    Column("consumer", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first_offset", BigInteger, nullable=False),
    Column("last_offset", BigInteger, nullable=False),
    Column("careful_offset", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
)


def create_messaging_tables(op: Any) -> None:
    """Creates the tables from a migration: `create_messaging_tables(op)` with `alembic.op`."""
    _metadata.create_all(op.get_bind())
