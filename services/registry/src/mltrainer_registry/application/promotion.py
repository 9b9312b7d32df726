"""Moves an alias to a version that passes the gate; used wherever an alias is asked for."""

from datetime import datetime

from mltrainer_registry.application.ports import UnitOfWork
from mltrainer_registry.domain.aliases import Alias, Motive, move
from mltrainer_registry.domain.changes import AliasMoved, GateEvaluated
from mltrainer_registry.domain.gates import GateEvaluation, evaluate
from mltrainer_registry.domain.names import AliasName
from mltrainer_registry.domain.versions import ModelVersion


async def evaluate_gate(
    uow: UnitOfWork, name: AliasName, candidate: ModelVersion, present: Alias | None, now: datetime
) -> GateEvaluation:
    """Holds a version against the policy of an alias and records the evaluation."""
    policy = await uow.models.policy(name.alias)
    champion = await uow.models.version(present.version) if present else None
    results = evaluate(policy, candidate, champion)
    revision = await uow.changes.next_revision()
    evaluation = GateEvaluation(candidate.name, name, results, now, revision)
    await uow.changes.record(GateEvaluated(evaluation))
    return evaluation


async def point_alias(
    uow: UnitOfWork, name: AliasName, present: Alias | None, number: int, *, motive: Motive, now: datetime
) -> Alias:
    """Appends a move to the history of an alias."""
    revision = await uow.changes.next_revision()
    moved = move(name, present, number, motive=motive, now=now, revision=revision)
    await uow.changes.record(AliasMoved(moved))
    return moved.result
