"""Says which version answers for which alias, and how an alias change moves that."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from mltrainer_serving.domain.errors import FeatureViewsDifferError

CHAMPION = "champion"


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of a version: where it belongs and the digest its bytes must have."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable model version as far as serving needs it."""

    model: str
    number: int
    manifest_digest: str
    files: tuple[ArtifactFile, ...]

    @property
    def name(self) -> str:
        """The resource name."""
        return f"models/{self.model}/versions/{self.number}"


@dataclass(frozen=True, slots=True)
class DeployedAlias:
    """One alias of a model.

    Attributes:
        version: What answers; None until the first version is loaded.
        wanted: What the alias names.
        error: Why `wanted` does not answer; empty where it does.
        revision: Revision of the registry that this follows.
        traceparent: Trace of the change that named `wanted`.
        is_refused: `wanted` is no model that this release serves; forgotten at a restart, as a later one may.
    """

    model: str
    alias: str
    wanted: Version
    revision: int
    version: Version | None = None
    error: str = ""
    load_time: datetime | None = None
    traceparent: str = ""
    is_refused: bool = False

    def pointed_to(self, wanted: Version, revision: int, traceparent: str) -> "DeployedAlias":
        """Returns the alias after a move; an older revision changes nothing."""
        if revision <= self.revision:
            return self
        return replace(
            self, wanted=wanted, revision=revision, error="", traceparent=traceparent, is_refused=False
        )

    def loaded(self, load_time: datetime) -> "DeployedAlias":
        """Returns the alias once `wanted` answers."""
        return replace(self, version=self.wanted, error="", load_time=load_time, is_refused=False)

    def failed(self, error: str) -> "DeployedAlias":
        """Returns the alias when `wanted` cannot be loaded; what answered before goes on answering."""
        return replace(self, error=error)

    def refused(self, error: str) -> "DeployedAlias":
        """Returns the alias when `wanted` is never served; what answered before goes on answering."""
        return replace(self, error=error, is_refused=True)

    @property
    def is_settled(self) -> bool:
        """Tells whether nothing is left to try: what the alias names answers, or never will."""
        return self.is_refused or self.version == self.wanted


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model with all its served aliases."""

    model: str
    aliases: Mapping[str, DeployedAlias] = field(default_factory=dict)


def require_views(version: Version, trained: Mapping[str, str], defined: Mapping[str, str]) -> None:
    """Compares the views that a version was trained on with those that are defined.

    Raises:
        FeatureViewsDifferError: A view has another definition, or none.
    """
    differences = [
        f"{view} {digest[:12]}, which is {_defined(defined.get(view))}"
        for view, digest in sorted(trained.items())
        if defined.get(view) != digest
    ]
    if differences:
        raise FeatureViewsDifferError(version.name, differences)


def _defined(digest: str | None) -> str:
    return "not defined any more" if digest is None else f"{digest[:12]} now"
