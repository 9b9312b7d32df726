"""Creates models, versions, aliases with history, gates, uploads and the change log."""

import json

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime
from mltrainer_messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None

_LINEAGE = {"condition": "lineage_complete"}
_POLICIES = {
    "champion": [
        {"condition": "verdict_is_edge"},
        _LINEAGE,
        {"condition": "beats_champion", "metric": "r2", "higher_is_better": True},
    ],
    "*": [_LINEAGE],
}


def upgrade() -> None:
    create_messaging_tables(op)
    _create_models()
    _create_aliases()
    _create_gates()
    _create_uploads()
    _create_change_log()


def _create_models() -> None:
    op.create_table(
        "model",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("version_count", sa.Integer, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "model_version",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("training", sa.String, nullable=False, unique=True),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("target_kind", sa.String, nullable=False),
        sa.Column("horizon_bars", sa.Integer, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("report", sa.LargeBinary, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("state_revision", sa.BigInteger, nullable=False),
    )
    op.create_index("model_version_state_revision", "model_version", ["state_revision"], unique=True)


def _create_aliases() -> None:
    op.create_table(
        "alias",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("alias_revision", "alias", ["revision"], unique=True)
    op.create_index("alias_version", "alias", ["model", "number"])
    op.create_table(
        "alias_move",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("from_number", sa.Integer),
        sa.Column("to_number", sa.Integer, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("move_time", UtcDateTime, nullable=False),
    )
    op.create_index("alias_move_history", "alias_move", ["model", "alias", "revision"])
    op.create_table(
        "answered_request",
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )


def _create_gates() -> None:
    policies = op.create_table(
        "gate_policy",
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("conditions", sa.Text, nullable=False),
    )
    rows = [{"alias": alias, "conditions": json.dumps(listed)} for alias, listed in _POLICIES.items()]
    op.bulk_insert(policies, rows)
    op.create_table(
        "gate_evaluation",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("results", sa.Text, nullable=False),
        sa.Column("evaluate_time", UtcDateTime, nullable=False),
    )
    op.create_index("gate_evaluation_version", "gate_evaluation", ["model", "number", "revision"])


def _create_uploads() -> None:
    op.create_table(
        "training_fence",
        sa.Column("training", sa.String, primary_key=True),
        sa.Column("lowest_token", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "upload",
        sa.Column("training", sa.String, primary_key=True),
        sa.Column("manifest_digest", sa.String, primary_key=True),
        sa.Column("manifest", sa.Text, nullable=False),
    )


def _create_change_log() -> None:
    head = op.create_table(
        "registry_head",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "revision": 0}])
    op.create_table(
        "change",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("change_time", UtcDateTime, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False),
    )
