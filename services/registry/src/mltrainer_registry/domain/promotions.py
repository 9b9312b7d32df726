"""Wishes to move an alias, and who may grant them."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from mltrainer_registry.domain.errors import OwnPromotionError, PromotionDecidedError
from mltrainer_registry.domain.names import AliasName, PromotionName, VersionName


class PromotionState(StrEnum):
    """What became of a promotion."""

    PENDING = "PENDING"
    APPLIED = "APPLIED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided, why and when."""

    decider: str
    reason: str
    decide_time: datetime


@dataclass(frozen=True, slots=True)
class Promotion:
    """A wish to point an alias to a version.

    Attributes:
        expected_number: Where the alias pointed when it was asked for; None for nowhere.
        request_id: What the request is known by; empty for none.
    """

    name: PromotionName
    alias: AliasName
    version: VersionName
    expected_number: int | None
    requester: str
    reason: str
    create_time: datetime
    revision: int
    request_id: str = ""
    state: PromotionState = PromotionState.PENDING
    decision: Decision | None = None

    @property
    def expected(self) -> VersionName | None:
        """Names where the alias pointed."""
        return self.alias.version(self.expected_number) if self.expected_number else None


def check_decidable(promotion: Promotion, wanted: PromotionState) -> bool:
    """Tells whether there is something to decide; False where it was decided so before.

    Raises:
        PromotionDecidedError: It was decided otherwise.
    """
    if promotion.state is PromotionState.PENDING:
        return True
    if promotion.state is wanted and promotion.decision is not None:
        return False
    raise PromotionDecidedError(str(promotion.name), promotion.state)


def check_approver(promotion: Promotion, owner: str, approver: str) -> None:
    """Lets nobody grant their own wish.

    Raises:
        OwnPromotionError: The approver asked for it, or for the training, or is unknown.
    """
    if approver in {"", promotion.requester, owner}:
        raise OwnPromotionError(str(promotion.name), approver)


def decided(promotion: Promotion, state: PromotionState, decision: Decision, revision: int) -> Promotion:
    """Returns the promotion after a decision."""
    return replace(promotion, state=state, decision=decision, revision=revision)
