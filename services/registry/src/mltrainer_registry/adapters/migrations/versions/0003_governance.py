"""Adds policies with a history, promotions, details of models and versions, and what they are found by."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime

revision = "0003"
down_revision = "0002"

_LINEAGE = {"condition": "lineage_complete"}
_EDGE = {"condition": "verdict_is_edge"}
_SHIPPED_CHAMPION = [
    _EDGE,
    _LINEAGE,
    {"condition": "beats_champion", "metric": "r2", "higher_is_better": True},
]
_CHAMPION = [
    _EDGE,
    _LINEAGE,
    {"condition": "not_worse_than_champion", "metric": "r2", "margin": 0.02, "confidence": 0.95},
]
_LINEAGE_FACTS = (
    "study",
    "dataset",
    "dataset_sha256",
    "code_digest",
    "environment_digest",
    "computation_key",
)
_ROWS_PER_INSERT = 1_000


def upgrade() -> None:
    _add_details()
    _create_policies()
    _create_promotions()
    _create_facts()


def _add_details() -> None:
    for table in ("model", "model_version"):
        op.add_column(table, sa.Column("description", sa.Text, nullable=False, server_default=""))
        op.add_column(table, sa.Column("tags", sa.Text, nullable=False, server_default="{}"))
    op.add_column("model", sa.Column("details_revision", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("model_version", sa.Column("owner", sa.String, nullable=False, server_default=""))
    op.add_column("model_version", sa.Column("signature", sa.Text, nullable=False, server_default=""))
    op.create_index("model_details_revision", "model", ["details_revision"])
    op.create_index("model_version_create_time", "model_version", ["create_time", "model", "number"])


def _create_policies() -> None:
    changes = op.create_table(
        "gate_policy_change",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("conditions", sa.Text, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("gate_policy_change_revision", "gate_policy_change", ["revision"])
    present = sa.table("gate_policy", sa.column("alias"), sa.column("conditions"))
    now = datetime.now(UTC)
    rows = []
    for row in op.get_bind().execute(sa.select(present)).all():
        # A default that nobody has changed gives way to the one that knows uncertainty.
        is_shipped = json.loads(row.conditions) == _SHIPPED_CHAMPION
        rows.append(
            {
                "model": "-",
                "alias": "-" if row.alias == "*" else row.alias,
                "number": 1,
                "conditions": json.dumps(_CHAMPION) if is_shipped else row.conditions,
                "actor": "policy",
                "reason": "shipped with the registry",
                "update_time": now,
                "revision": 0,
            }
        )
    op.bulk_insert(changes, rows)


def _create_promotions() -> None:
    op.create_table(
        "promotion",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("version_number", sa.Integer, nullable=False),
        sa.Column("expected_number", sa.Integer),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("requester", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("request_id", sa.String, unique=True),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("decider", sa.String, nullable=False),
        sa.Column("decision_reason", sa.String, nullable=False),
        sa.Column("decide_time", UtcDateTime),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("promotion_revision", "promotion", ["revision"], unique=True)
    op.create_index("promotion_state", "promotion", ["state", "model", "number"])


def _create_facts() -> None:
    facts = op.create_table(
        "fact",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, primary_key=True),
        sa.Column("amount", sa.Float),
    )
    op.create_index("fact_value", "fact", ["kind", "name", "value", "model", "number"])
    op.create_index("fact_amount", "fact", ["kind", "name", "amount"])
    version = sa.table("model_version", *map(sa.column, ("model", "number", "lineage", "metrics")))
    rows = [row for one in op.get_bind().execute(sa.select(version)).all() for row in _facts(one)]
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        op.bulk_insert(facts, rows[start : start + _ROWS_PER_INSERT])


def _facts(version: Any) -> Iterator[dict[str, Any]]:
    key = {"model": version.model, "number": version.number}
    for name, value in dict(json.loads(version.metrics)).items():
        yield {**key, "kind": "metric", "name": name, "value": "", "amount": value}
    lineage = json.loads(version.lineage)
    found = {(name, lineage[name]) for name in _LINEAGE_FACTS if lineage[name]}
    found |= {("feature_view_version", view) for view in lineage["feature_view_versions"]}
    for name, value in sorted(found):
        yield {**key, "kind": "lineage", "name": name, "value": value, "amount": None}
