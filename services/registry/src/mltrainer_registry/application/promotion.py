"""Moves an alias to a version that passes the gate; used wherever an alias is asked for."""

from datetime import datetime

from mltrainer_registry.application.ports import UnitOfWork
from mltrainer_registry.domain.aliases import POLICY_ACTOR, Alias, Motive, move
from mltrainer_registry.domain.changes import AliasMoved, GateEvaluated, PromotionRequested
from mltrainer_registry.domain.errors import (
    GateNotPassedError,
    VersionArchivedError,
    VersionNotFoundError,
)
from mltrainer_registry.domain.gates import Approval, Contender, GateEvaluation, evaluate
from mltrainer_registry.domain.names import AliasName, PolicyName, PromotionName, VersionName
from mltrainer_registry.domain.policies import GatePolicy
from mltrainer_registry.domain.promotions import Promotion
from mltrainer_registry.domain.versions import ModelVersion, VersionState


async def evaluate_gate(
    uow: UnitOfWork,
    name: AliasName,
    candidate: ModelVersion,
    present: Alias | None,
    now: datetime,
    *,
    approval: Approval | None = None,
) -> GateEvaluation:
    """Holds a version against the policy of an alias and records the evaluation."""
    closest = await uow.policies.closest(PolicyName(name.model, name.alias))
    policy = (closest.policy if closest else None) or GatePolicy(())
    champion = await uow.models.version(present.version) if present else None
    results = evaluate(
        policy,
        await _contender(uow, candidate),
        await _contender(uow, champion) if champion else None,
        approval,
    )
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


async def ask_for_approval(
    uow: UnitOfWork,
    name: AliasName,
    version: ModelVersion,
    present: Alias | None,
    *,
    motive: Motive,
    now: datetime,
    request_id: str = "",
) -> Promotion:
    """Records a promotion that waits for an approver; one that waits already is kept."""
    waiting = await uow.promotions.pending(name, version.name)
    if waiting is not None and waiting.expected_number == (present.number if present else None):
        return waiting
    promotion = Promotion(
        name=PromotionName(name.model, await uow.promotions.count(name.model) + 1),
        alias=name,
        version=version.name,
        expected_number=present.number if present else None,
        requester=motive.actor,
        reason=motive.reason,
        create_time=now,
        revision=await uow.changes.next_revision(),
        request_id=request_id,
    )
    await uow.changes.record(PromotionRequested(promotion))
    return promotion


def proposal_motive(version: ModelVersion) -> Motive:
    """Says who asks for the alias that a training has proposed, and why."""
    return Motive(version.owner or POLICY_ACTOR, f"{version.training} proposed it")


def refusal(evaluation: GateEvaluation) -> GateNotPassedError:
    """Says which conditions do not hold, and why."""
    failed = tuple(result.condition for result in evaluation.failures)
    detail = "; ".join(f"{result.condition}: {result.detail}" for result in evaluation.failures)
    return GateNotPassedError(str(evaluation.alias), str(evaluation.version), failed, detail)


async def promotable(uow: UnitOfWork, name: VersionName) -> ModelVersion:
    """Returns a version that aliases may point to.

    Raises:
        VersionNotFoundError: There is none of this name.
        VersionArchivedError: It is out of service for good.
    """
    version = await uow.models.version(name)
    if version is None:
        raise VersionNotFoundError(str(name))
    if version.state is VersionState.ARCHIVED:
        raise VersionArchivedError(str(name))
    return version


async def _contender(uow: UnitOfWork, version: ModelVersion) -> Contender:
    return Contender(version, await uow.evaluations.of(version.manifest))
