"""Creates a version for a caller who waits for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mltrainer_registry.application.create_version import CreateVersion, Delivery, VersionOutcome
from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.application.ports import RegistryReader
from mltrainer_registry.domain.errors import StaleFencingTokenError, TrainingHasVersionError
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.domain.versions import ModelVersion


@dataclass(frozen=True, slots=True)
class RequestVersionHandler:
    """Creates a version, or returns the one that the same request has created before."""

    create: Callable[[CreateVersion], Awaitable[Delivery]]
    reader: RegistryReader
    follower: ChangeFollower

    async def __call__(self, command: CreateVersion) -> ModelVersion:
        """Returns the version of the training.

        Raises:
            TrainingHasVersionError: The training has made a version of another model or of other files.
            StaleFencingTokenError: A later attempt of the training holds the right to deliver.
            ManifestNotUploadedError: The files were not uploaded.
        """
        outcome, name = await self.create(command)
        if name is None:
            lowest = await self.reader.lowest_token(command.training)
            raise StaleFencingTokenError(command.training, command.fencing_token, lowest)
        version = await self.follower.version(name)
        if outcome is VersionOutcome.TRAINING_HAS_VERSION:
            _check_same(command, name, version)
        return version


def _check_same(command: CreateVersion, name: VersionName, version: ModelVersion) -> None:
    if (name.model, version.manifest.digest) != (command.model, command.manifest_digest):
        raise TrainingHasVersionError(command.training, str(name))
