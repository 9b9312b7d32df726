"""Describes models and their immutable versions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mltrainer_registry.domain.aliases import Alias
from mltrainer_registry.domain.details import NO_DETAILS, Details
from mltrainer_registry.domain.imports import ImportOrigin
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
    parent_version: str = ""

    def missing(self) -> tuple[str, ...]:
        """Names what would be needed to compute the version again and is unknown."""
        # Most versions have no parent.
        needed = (name for name in self.__slots__ if name != "parent_version")
        return tuple(name for name in needed if not getattr(self, name))


@dataclass(frozen=True, slots=True)
class Column:
    """One column that a version reads or answers."""

    name: str
    data_type: str


@dataclass(frozen=True, slots=True)
class Signature:
    """The columns of a version in order; none where it has not reported them."""

    inputs: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()


NO_SIGNATURE = Signature()


@dataclass(frozen=True, slots=True)
class Result:
    """Holds what an attempt found.

    Attributes:
        metrics: Out-of-sample metrics by name.
        report: The whole report as the attempt sent it; the registry keeps it and reads no more of it.
        errors: Standard errors of those metrics that have one.
    """

    verdict: Verdict
    metrics: tuple[tuple[str, float], ...]
    report: bytes
    errors: tuple[tuple[str, float], ...] = ()

    def metric(self, name: str) -> float | None:
        """Returns a metric by name."""
        return dict(self.metrics).get(name)

    def error(self, name: str) -> float | None:
        """Returns the standard error of a metric."""
        return dict(self.errors).get(name)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version; only its state and its details ever change.

    Attributes:
        revision: Revision of the registry that created it.
        state_revision: Revision of the registry that last changed its state or its details.
        owner: Who asked for its training; empty where unknown.
        origin: Where it was imported from; None where it was made here.
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
    owner: str = ""
    signature: Signature = NO_SIGNATURE
    details: Details = NO_DETAILS
    origin: ImportOrigin | None = None

    @property
    def etag(self) -> str:
        """Changes with the state and the details."""
        return f"r{self.state_revision}"


@dataclass(frozen=True, slots=True)
class Model:
    """A line of versions with the aliases that point into it."""

    model: str
    version_count: int
    aliases: tuple[Alias, ...]
    create_time: datetime
    revision: int
    details: Details = NO_DETAILS

    @property
    def etag(self) -> str:
        """Changes with every version, state and alias."""
        return f"r{self.revision}"
