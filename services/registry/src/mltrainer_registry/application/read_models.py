"""Answers questions about models."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.application.ports import ArtifactStore, RegistryReader
from mltrainer_registry.domain.aliases import Alias
from mltrainer_registry.domain.errors import (
    AliasNotFoundError,
    FileNotInManifestError,
    ModelNotFoundError,
    OffsetOutOfRangeError,
)
from mltrainer_registry.domain.names import AliasName, VersionName, model_name
from mltrainer_registry.domain.versions import Model


@dataclass(frozen=True, slots=True)
class GetModelHandler:
    """Returns a model or raises ModelNotFoundError."""

    reader: RegistryReader

    async def __call__(self, model: str) -> Model:
        """Returns the model."""
        found = await self.reader.model(model)
        if found is None:
            raise ModelNotFoundError(model_name(model))
        return found


@dataclass(frozen=True, slots=True)
class GetAliasHandler:
    """Returns where an alias points or pointed, or raises AliasNotFoundError."""

    reader: RegistryReader
    follower: ChangeFollower

    async def __call__(self, name: AliasName, as_of_time: datetime | None) -> Alias:
        """Returns the alias; the past is read from its history."""
        if as_of_time is None:
            return self.follower.alias(name)
        found = await self.reader.alias_as_of(name, as_of_time)
        if found is None:
            raise AliasNotFoundError(str(name), as_of_time)
        return found


@dataclass(frozen=True, slots=True)
class DownloadArtifactHandler:
    """Yields the verified bytes of one file of a version."""

    follower: ChangeFollower
    artifacts: ArtifactStore

    async def __call__(
        self, name: VersionName, path: str, offset_bytes: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yields pieces.

        Raises:
            FileNotInManifestError: The version has no such file.
            OffsetOutOfRangeError: The file ends before the offset.
            ArtifactAlteredError: The content store has lost or altered it.
        """
        version = await self.follower.version(name)
        file = version.manifest.file(path)
        if file is None:
            raise FileNotInManifestError(str(name), path)
        if not 0 <= offset_bytes <= file.size_bytes:
            raise OffsetOutOfRangeError(path, offset_bytes, file.size_bytes)
        async with aclosing(self.artifacts.read(file, offset_bytes)) as pieces:
            async for piece in pieces:
                yield piece
