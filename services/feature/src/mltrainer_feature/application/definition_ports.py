"""What applying definitions needs from outside."""

from collections.abc import Sequence
from typing import Protocol

from mltrainer_feature.domain.definitions import Definition, Definitions
from mltrainer_feature.domain.online import OnlineSchema


class DefinitionRepository(Protocol):
    """Keeps what was applied, and what was removed."""

    async def load(self) -> Definitions:
        """Returns all definitions."""
        ...

    async def save(self, definitions: Sequence[Definition]) -> None:
        """Stores definitions, new or changed."""
        ...


class DefinedSchemas(Protocol):
    """What can be read: stored features, and what is defined over them."""

    @property
    def stored(self) -> OnlineSchema:
        """Returns what can be read without definitions."""
        ...

    def define(self, definitions: Definitions) -> None:
        """Takes over newer definitions; older ones change nothing."""
        ...
