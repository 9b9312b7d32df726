"""Collects what there is to know about a version."""

from dataclasses import dataclass

from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.application.ports import RegistryReader
from mltrainer_registry.domain.gates import GateEvaluation
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.domain.versions import ModelVersion

_EVALUATIONS = 5


@dataclass(frozen=True, slots=True)
class CardFacts:
    """A version, the aliases that point to it and its latest evaluations."""

    version: ModelVersion
    aliases: tuple[str, ...]
    evaluations: tuple[GateEvaluation, ...]


@dataclass(frozen=True, slots=True)
class DescribeVersionHandler:
    """Returns the facts of a model card, or raises VersionNotFoundError."""

    follower: ChangeFollower
    reader: RegistryReader

    async def __call__(self, name: VersionName) -> CardFacts:
        """Returns the facts."""
        version = await self.follower.version(name)
        model = await self.reader.model(name.model)
        aliases = tuple(alias.name.alias for alias in model.aliases if alias.version == name) if model else ()
        page = await self.reader.gate_evaluations(name, _EVALUATIONS, "")
        return CardFacts(version, aliases, page.items)
