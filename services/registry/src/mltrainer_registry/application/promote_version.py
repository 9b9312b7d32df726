"""Lets somebody ask for an alias and somebody else grant it."""

from dataclasses import dataclass
from datetime import datetime

from mltrainer_registry.application.ports import Clock, UnitOfWork, UnitOfWorkFactory
from mltrainer_registry.application.promotion import (
    ask_for_approval,
    evaluate_gate,
    point_alias,
    promotable,
    refusal,
)
from mltrainer_registry.domain.aliases import POLICY_ACTOR, Alias, Motive, check_expectation
from mltrainer_registry.domain.changes import PromotionDecided
from mltrainer_registry.domain.errors import (
    InvalidFieldError,
    PromotionNotFoundError,
    RequestIdReusedError,
)
from mltrainer_registry.domain.gates import Approval, GateEvaluation
from mltrainer_registry.domain.names import AliasName, PromotionName, VersionName
from mltrainer_registry.domain.promotions import (
    Decision,
    Promotion,
    PromotionState,
    check_approver,
    check_decidable,
    decided,
)


@dataclass(frozen=True, slots=True)
class RequestPromotion:
    """Asks to point an alias to a version."""

    alias: AliasName
    version: VersionName
    motive: Motive
    request_id: str


@dataclass(frozen=True, slots=True)
class RequestPromotionHandler:
    """Moves the alias where the gate passes, and waits for an approver where that is all that is missing."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: RequestPromotion) -> Promotion:
        """Returns the promotion, also when the request was answered before.

        Raises:
            GateNotPassedError: More than an approval is missing; the evaluation is kept.
        """
        if command.version.model != command.alias.model:
            raise InvalidFieldError("version", f"is not a version of models/{command.alias.model}")
        async with self.unit_of_work() as uow:
            if (answer := await _answered(uow, command)) is not None:
                return answer
            candidate, now = await promotable(uow, command.version), self.clock.now()
            present = await uow.models.alias(command.alias)
            if present is not None and present.version == command.version:
                raise InvalidFieldError("version", f"is where {command.alias} points already")
            evaluation = await evaluate_gate(uow, command.alias, candidate, present, now)
            if evaluation.passed or evaluation.lacks_approval_only:
                promotion = await ask_for_approval(
                    uow,
                    command.alias,
                    candidate,
                    present,
                    motive=command.motive,
                    now=now,
                    request_id=command.request_id,
                )
                if evaluation.passed:
                    decision = Decision(POLICY_ACTOR, "the gate passed", now)
                    promotion = await _apply(uow, promotion, present, decision, command.motive)
                await uow.commit()
                return promotion
            await uow.commit()
        raise refusal(evaluation)


@dataclass(frozen=True, slots=True)
class DecidePromotion:
    """Approves or rejects a promotion."""

    name: PromotionName
    motive: Motive
    approve: bool

    @property
    def wanted(self) -> PromotionState:
        """Says what the promotion shall become."""
        return PromotionState.APPLIED if self.approve else PromotionState.REJECTED


@dataclass(frozen=True, slots=True)
class DecidePromotionHandler:
    """Moves the alias if somebody other than the author approves and the gate still passes."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: DecidePromotion) -> Promotion:
        """Returns the promotion after the decision, also when it was decided so before.

        Raises:
            OwnPromotionError: The approver has asked for it, or for the training.
            AliasMovedError: The alias has moved since it was asked for.
            GateNotPassedError: Something else than the approval is missing by now; the evaluation is kept.
            PromotionDecidedError: It was decided otherwise.
        """
        async with self.unit_of_work() as uow:
            promotion = await uow.promotions.get(command.name)
            if promotion is None:
                raise PromotionNotFoundError(str(command.name))
            if not check_decidable(promotion, command.wanted):
                return promotion
            decision = Decision(command.motive.actor, command.motive.reason, self.clock.now())
            if not command.approve:
                promotion = await _decide(uow, promotion, PromotionState.REJECTED, decision)
                await uow.commit()
                return promotion
            present = await uow.models.alias(promotion.alias)
            check_expectation(promotion.alias, present, promotion.expected)
            evaluation = await self._evaluate(uow, promotion, present, decision)
            if evaluation.passed:
                reason = f"{promotion.reason}; approved by {decision.decider}: {decision.reason}"
                motive = Motive(promotion.requester, reason)
                promotion = await _apply(uow, promotion, present, decision, motive)
                await uow.commit()
                return promotion
            await uow.commit()
        raise refusal(evaluation)

    async def _evaluate(
        self, uow: UnitOfWork, promotion: Promotion, present: Alias | None, decision: Decision
    ) -> GateEvaluation:
        candidate = await promotable(uow, promotion.version)
        check_approver(promotion, candidate.owner, decision.decider)
        approval = Approval(decision.decider, decision.reason)
        time: datetime = decision.decide_time
        return await evaluate_gate(uow, promotion.alias, candidate, present, time, approval=approval)


async def _answered(uow: UnitOfWork, command: RequestPromotion) -> Promotion | None:
    known = await uow.promotions.of_request(command.request_id) if command.request_id else None
    if known is not None and (known.alias, known.version) != (command.alias, command.version):
        raise RequestIdReusedError(command.request_id)
    return known


async def _apply(
    uow: UnitOfWork, promotion: Promotion, present: Alias | None, decision: Decision, motive: Motive
) -> Promotion:
    number, now = promotion.version.number, decision.decide_time
    _ = await point_alias(uow, promotion.alias, present, number, motive=motive, now=now)
    return await _decide(uow, promotion, PromotionState.APPLIED, decision)


async def _decide(
    uow: UnitOfWork, promotion: Promotion, state: PromotionState, decision: Decision
) -> Promotion:
    after = decided(promotion, state, decision, await uow.changes.next_revision())
    await uow.changes.record(PromotionDecided(after))
    return after
