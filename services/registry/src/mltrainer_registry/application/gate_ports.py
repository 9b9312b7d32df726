"""What gates and promotions need from the outside."""

from typing import Protocol

from mltrainer_models.evaluation import ModelEvaluation

from mltrainer_registry.application.paging import Page
from mltrainer_registry.domain.manifests import Manifest
from mltrainer_registry.domain.names import AliasName, PolicyName, PromotionName, VersionName
from mltrainer_registry.domain.policies import PolicyChange
from mltrainer_registry.domain.promotions import Promotion, PromotionState


class PolicyRepository(Protocol):
    """Reads policies inside the transaction."""

    async def closest(self, name: PolicyName) -> PolicyChange | None:
        """Returns the policy that holds for an alias: its own or the closest default."""
        ...

    async def latest(self, name: PolicyName) -> PolicyChange | None:
        """Returns the newest policy of exactly this name."""
        ...


class GovernanceReader(Protocol):
    """Lists policies and promotions outside any write transaction."""

    async def policy(self, name: PolicyName) -> PolicyChange | None:
        """Returns the policy that holds for an alias: its own or the closest default."""
        ...

    async def policies(self, limit: int, cursor: str) -> Page[PolicyChange]:
        """Lists the newest policy of each name, by name."""
        ...

    async def policy_changes(self, name: PolicyName, limit: int, cursor: str) -> Page[PolicyChange]:
        """Lists the history of a policy, newest first."""
        ...

    async def promotion(self, name: PromotionName) -> Promotion | None:
        """Returns a promotion."""
        ...

    async def promotions(
        self, model: str | None, state: PromotionState | None, limit: int, cursor: str
    ) -> Page[Promotion]:
        """Lists the promotions of a model, or of all models by name, newest first."""
        ...


class PromotionRepository(Protocol):
    """Reads promotions inside the transaction."""

    async def get(self, name: PromotionName) -> Promotion | None:
        """Returns a promotion."""
        ...

    async def of_request(self, request_id: str) -> Promotion | None:
        """Returns the promotion that a request id has made."""
        ...

    async def pending(self, alias: AliasName, version: VersionName) -> Promotion | None:
        """Returns the promotion of a version that waits for an approver."""
        ...

    async def count(self, model: str) -> int:
        """Returns how many promotions a model has; also the number of the newest."""
        ...


class EvaluationSource(Protocol):
    """Reads the losses by day that travel with versions; they never change, so they are read once."""

    async def of(self, manifest: Manifest) -> ModelEvaluation | None:
        """Returns the losses; None where there are none, or none that can be read."""
        ...
