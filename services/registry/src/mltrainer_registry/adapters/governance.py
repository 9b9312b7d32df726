"""Keeps policies with their history, and promotions."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.rows import Row
from mltrainer_registry.domain.names import AliasName, PolicyName, PromotionName, VersionName
from mltrainer_registry.domain.policies import Condition, ConditionKind, GatePolicy, PolicyChange
from mltrainer_registry.domain.promotions import Decision, Promotion, PromotionState

TAKEN_BACK = json.dumps(None)
_DEFAULTS = asdict(Condition(ConditionKind.APPROVED))


def policy_row(change: PolicyChange) -> dict[str, Any]:
    """Writes an entry of the history of a policy."""
    return {
        "model": change.name.model,
        "alias": change.name.alias,
        "number": change.number,
        "conditions": _conditions_json(change.policy),
        "actor": change.actor,
        "reason": change.reason,
        "update_time": change.update_time,
        "revision": change.revision,
    }


def _conditions_json(policy: GatePolicy | None) -> str:
    # An older replica fails at what was taken back, instead of believing that nothing is asked for.
    return TAKEN_BACK if policy is None else json.dumps([_condition(one) for one in policy.conditions])


def _condition(condition: Condition) -> dict[str, Any]:
    fields = asdict(condition)
    kept = {name: value for name, value in fields.items() if name != "kind" and value != _DEFAULTS[name]}
    return {"condition": condition.kind, **kept}


def read_policy_change(row: Row) -> PolicyChange:
    """Reads an entry of the history of a policy."""
    listed = json.loads(row.conditions)
    return PolicyChange(
        name=PolicyName(row.model, row.alias),
        number=row.number,
        policy=None if listed is None else GatePolicy(tuple(map(_read_condition, listed))),
        actor=row.actor,
        reason=row.reason,
        update_time=row.update_time,
        revision=row.revision,
    )


def _read_condition(fields: dict[str, Any]) -> Condition:
    return Condition(ConditionKind(fields.pop("condition")), **fields)


def promotion_row(promotion: Promotion) -> dict[str, Any]:
    """Writes a promotion."""
    decision = promotion.decision
    return {
        "model": promotion.name.model,
        "number": promotion.name.number,
        "alias": promotion.alias.alias,
        "version_number": promotion.version.number,
        "expected_number": promotion.expected_number,
        "state": promotion.state,
        "requester": promotion.requester,
        "reason": promotion.reason,
        "request_id": promotion.request_id or None,
        "create_time": promotion.create_time,
        "decider": decision.decider if decision else "",
        "decision_reason": decision.reason if decision else "",
        "decide_time": decision.decide_time if decision else None,
        "revision": promotion.revision,
    }


def read_promotion(row: Row) -> Promotion:
    """Reads a promotion."""
    is_decided = row.decide_time is not None
    return Promotion(
        name=PromotionName(row.model, row.number),
        alias=AliasName(row.model, row.alias),
        version=VersionName(row.model, row.version_number),
        expected_number=row.expected_number,
        requester=row.requester,
        reason=row.reason,
        create_time=row.create_time,
        revision=row.revision,
        request_id=row.request_id or "",
        state=PromotionState(row.state),
        decision=Decision(row.decider, row.decision_reason, row.decide_time) if is_decided else None,
    )


async def closest_policy(connection: AsyncConnection, name: PolicyName) -> PolicyChange | None:
    """Returns the newest policy of the closest name that has one and has not taken it back."""
    table = tables.gate_policy_change
    names = name.closest_first()
    wanted = or_(*(and_(table.c.model == one.model, table.c.alias == one.alias) for one in names))
    rows = await connection.execute(select(table).where(wanted).order_by(table.c.number))
    newest = {change.name: change for change in map(read_policy_change, rows)}
    return next((newest[one] for one in names if one in newest and newest[one].policy is not None), None)


@dataclass(frozen=True, slots=True)
class SqlPolicyRepository:
    """Reads policies inside the transaction."""

    connection: AsyncConnection

    async def closest(self, name: PolicyName) -> PolicyChange | None:
        """Returns the policy that holds for an alias."""
        return await closest_policy(self.connection, name)

    async def latest(self, name: PolicyName) -> PolicyChange | None:
        """Returns the newest policy of exactly this name."""
        table = tables.gate_policy_change
        here = and_(table.c.model == name.model, table.c.alias == name.alias)
        statement = select(table).where(here).order_by(table.c.number.desc()).limit(1)
        row = (await self.connection.execute(statement)).one_or_none()
        return read_policy_change(row) if row else None


@dataclass(frozen=True, slots=True)
class SqlPromotionRepository:
    """Reads promotions inside the transaction."""

    connection: AsyncConnection

    async def get(self, name: PromotionName) -> Promotion | None:
        """Returns a promotion."""
        table = tables.promotion
        here = and_(table.c.model == name.model, table.c.number == name.number)
        row = (await self.connection.execute(select(table).where(here))).one_or_none()
        return read_promotion(row) if row else None

    async def of_request(self, request_id: str) -> Promotion | None:
        """Returns the promotion that a request id has made."""
        table = tables.promotion
        row = (
            await self.connection.execute(select(table).where(table.c.request_id == request_id))
        ).one_or_none()
        return read_promotion(row) if row else None

    async def pending(self, alias: AliasName, version: VersionName) -> Promotion | None:
        """Returns the promotion of a version that waits for an approver."""
        table = tables.promotion
        here = and_(
            table.c.model == alias.model,
            table.c.alias == alias.alias,
            table.c.version_number == version.number,
            table.c.state == PromotionState.PENDING,
        )
        row = (await self.connection.execute(select(table).where(here).limit(1))).one_or_none()
        return read_promotion(row) if row else None

    async def count(self, model: str) -> int:
        """Returns how many promotions a model has."""
        table = tables.promotion
        statement = select(func.coalesce(func.max(table.c.number), 0)).where(table.c.model == model)
        count: int = (await self.connection.execute(statement)).scalar_one()
        return count
