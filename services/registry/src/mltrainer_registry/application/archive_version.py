"""Takes versions out of service."""

from dataclasses import dataclass, replace

from mltrainer_registry.application.ports import UnitOfWorkFactory
from mltrainer_registry.domain.changes import VersionArchived
from mltrainer_registry.domain.errors import StaleEtagError, VersionHasAliasError, VersionNotFoundError
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.domain.versions import ModelVersion, VersionState


@dataclass(frozen=True, slots=True)
class ArchiveVersion:
    """Archives a version; an empty etag is not checked."""

    name: VersionName
    etag: str


@dataclass(frozen=True, slots=True)
class ArchiveVersionHandler:
    """Archives a version that no alias points to; doing it again changes nothing."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, command: ArchiveVersion) -> ModelVersion:
        """Returns the archived version.

        Raises:
            VersionHasAliasError: An alias points to it.
            StaleEtagError: It has changed since the caller read it.
        """
        async with self.unit_of_work() as uow:
            version = await uow.models.version(command.name)
            if version is None:
                raise VersionNotFoundError(str(command.name))
            if command.etag not in {"", version.etag}:
                raise StaleEtagError(str(command.name), command.etag)
            if version.state is VersionState.ARCHIVED:
                return version
            if aliases := await uow.models.aliases_of(command.name):
                raise VersionHasAliasError(str(command.name), aliases)
            revision = await uow.changes.next_revision()
            archived = replace(version, state=VersionState.ARCHIVED, state_revision=revision)
            await uow.changes.record(VersionArchived(archived))
            await uow.commit()
        return archived
