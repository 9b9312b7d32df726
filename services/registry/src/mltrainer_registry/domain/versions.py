"""Describes models and their immutable versions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mltrainer_registry.domain.aliases import Alias
from mltrainer_registry.domain.manifests import Manifest
from mltrainer_registry.domain.names import VersionName


class VersionState(StrEnum):
    """Says whether a version may be served and promoted."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


class Verdict(StrEnum):
    """Says what the evaluation of a training concluded."""

    UNSPECIFIED = "UNSPECIFIED"
    EDGE = "EDGE"
    NO_EDGE = "NO_EDGE"
    NOT_ENOUGH_DATA = "NOT_ENOUGH_DATA"


@dataclass(frozen=True, slots=True)
class Target:
    """Names the label a version predicts."""

    kind: str
    horizon_bars: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """Says where a version comes from; an empty value is an unknown one."""

    training: str
    attempt: int
    study: str
    dataset: str
    dataset_sha256: str
    feature_view_versions: tuple[str, ...]
    code_digest: str
    environment_digest: str
    computation_key: str
    as_of_time: datetime | None

    def missing(self) -> tuple[str, ...]:
        """Names what would be needed to compute the version again and is unknown."""
        return tuple(name for name in self.__slots__ if not getattr(self, name))


@dataclass(frozen=True, slots=True)
class Result:
    """Holds what an attempt found.

    Attributes:
        metrics: Out-of-sample metrics by name.
        report: The whole report as the attempt sent it; the registry keeps it and reads no more of it.
    """

    verdict: Verdict
    metrics: tuple[tuple[str, float], ...]
    report: bytes

    def metric(self, name: str) -> float | None:
        """Returns a metric by name."""
        return dict(self.metrics).get(name)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version; only its state ever changes.

    Attributes:
        revision: Revision of the registry that created it.
        state_revision: Revision of the registry that last changed its state.
    """

    name: VersionName
    state: VersionState
    training: str
    manifest: Manifest
    lineage: Lineage
    result: Result
    target: Target
    create_time: datetime
    revision: int
    state_revision: int

    @property
    def etag(self) -> str:
        """Changes with the state."""
        return f"r{self.state_revision}"


@dataclass(frozen=True, slots=True)
class Model:
    """A line of versions with the aliases that point into it."""

    model: str
    version_count: int
    aliases: tuple[Alias, ...]
    create_time: datetime
    revision: int

    @property
    def etag(self) -> str:
        """Changes with every version, state and alias."""
        return f"r{self.revision}"
