"""Names what can change in the registry; every change takes one revision."""

from dataclasses import dataclass
from datetime import datetime

from mltrainer_registry.domain.aliases import Alias, AliasMove
from mltrainer_registry.domain.gates import GateEvaluation
from mltrainer_registry.domain.policies import PolicyChange
from mltrainer_registry.domain.promotions import Promotion
from mltrainer_registry.domain.versions import Model, ModelVersion


@dataclass(frozen=True, slots=True)
class VersionCreated:
    """A version exists."""

    version: ModelVersion


@dataclass(frozen=True, slots=True)
class VersionArchived:
    """A version is out of service for good."""

    version: ModelVersion


@dataclass(frozen=True, slots=True)
class VersionUpdated:
    """Description or tags of a version changed."""

    version: ModelVersion


@dataclass(frozen=True, slots=True)
class ModelUpdated:
    """Description or tags of a model changed."""

    model: Model
    change_time: datetime


@dataclass(frozen=True, slots=True)
class AliasMoved:
    """An alias points elsewhere."""

    move: AliasMove


@dataclass(frozen=True, slots=True)
class GateEvaluated:
    """A version was held against the conditions of an alias."""

    evaluation: GateEvaluation


@dataclass(frozen=True, slots=True)
class PromotionRequested:
    """Somebody asks to point an alias to a version."""

    promotion: Promotion


@dataclass(frozen=True, slots=True)
class PromotionDecided:
    """A promotion was approved or rejected."""

    promotion: Promotion


@dataclass(frozen=True, slots=True)
class GatePolicyChanged:
    """The conditions of an alias were set."""

    change: PolicyChange


Change = (
    VersionCreated
    | VersionArchived
    | VersionUpdated
    | ModelUpdated
    | AliasMoved
    | GateEvaluated
    | PromotionRequested
    | PromotionDecided
    | GatePolicyChanged
)
Resource = ModelVersion | Model | Alias | GateEvaluation | Promotion | PolicyChange
"""What a change leaves behind."""


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """An entry of the change log with the resource as it was after it.

    `resource` is None where it is no longer known; `traceparent` is empty where unknown.
    """

    revision: int
    resource: Resource | None
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a transaction has added to the change log.

    `changes` are the entries from the first to the last revision; none where they must be read from the log.
    """

    first_revision: int
    last_revision: int
    changes: tuple[LoggedChange, ...]
