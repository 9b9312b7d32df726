"""Names what can change in the registry; every change takes one revision."""

from dataclasses import dataclass

from mltrainer_registry.domain.aliases import Alias, AliasMove
from mltrainer_registry.domain.gates import GateEvaluation
from mltrainer_registry.domain.versions import ModelVersion


@dataclass(frozen=True, slots=True)
class VersionCreated:
    """A version exists."""

    version: ModelVersion


@dataclass(frozen=True, slots=True)
class VersionArchived:
    """A version is out of service for good."""

    version: ModelVersion


@dataclass(frozen=True, slots=True)
class AliasMoved:
    """An alias points elsewhere."""

    move: AliasMove


@dataclass(frozen=True, slots=True)
class GateEvaluated:
    """A version was held against the conditions of an alias."""

    evaluation: GateEvaluation


Change = VersionCreated | VersionArchived | AliasMoved | GateEvaluated


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """An entry of the change log with the resource as it was after it.

    `resource` is None for changes that touch neither a version nor an alias; `traceparent` is empty where
    unknown.
    """

    revision: int
    resource: ModelVersion | Alias | None
    traceparent: str = ""
