"""What searches and lineage need from the outside."""

from typing import Protocol

from mltrainer_registry.application.paging import Page
from mltrainer_registry.domain.filters import Search
from mltrainer_registry.domain.lineage import Descendant, Origin
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.domain.versions import Model, ModelVersion


class ModelSearch(Protocol):
    """Finds models and versions."""

    async def models(self, search: Search, limit: int, cursor: str) -> Page[Model]:
        """Returns the models that a filter asks for."""
        ...

    async def versions(
        self, model: str | None, search: Search, limit: int, cursor: str
    ) -> Page[ModelVersion]:
        """Returns the versions that a filter asks for, of one model or of all."""
        ...


class LineageReader(Protocol):
    """Follows what versions were made of."""

    async def descendants(self, origin: Origin, limit: int, cursor: str) -> Page[Descendant]:
        """Lists the versions that were made of something, directly or through a version, by name."""
        ...

    async def children(
        self, name: VersionName, generations: int, limit: int
    ) -> list[tuple[VersionName, VersionName]]:
        """Returns child and parent for every version made of this one, up to so many generations."""
        ...
