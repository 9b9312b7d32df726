"""Changes descriptions and tags."""

from dataclasses import dataclass, replace

from mltrainer_registry.application.ports import Clock, UnitOfWorkFactory
from mltrainer_registry.domain.changes import ModelUpdated, VersionUpdated
from mltrainer_registry.domain.details import DetailsChange, change_details
from mltrainer_registry.domain.errors import ModelNotFoundError, StaleEtagError, VersionNotFoundError
from mltrainer_registry.domain.names import VersionName, model_name
from mltrainer_registry.domain.versions import Model, ModelVersion


@dataclass(frozen=True, slots=True)
class UpdateModel:
    """Changes the details of a model; an empty etag is not checked."""

    model: str
    change: DetailsChange
    etag: str


@dataclass(frozen=True, slots=True)
class UpdateModelHandler:
    """Changes description and tags of a model; what is so already adds nothing."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: UpdateModel) -> Model:
        """Returns the model after the change.

        Raises:
            StaleEtagError: It has changed since the caller read it.
        """
        async with self.unit_of_work() as uow:
            model = await uow.models.model(command.model)
            if model is None:
                raise ModelNotFoundError(model_name(command.model))
            if command.etag not in {"", model.etag}:
                raise StaleEtagError(model_name(command.model), command.etag)
            details = change_details(model.details, command.change)
            if details == model.details:
                return model
            changed = replace(model, details=details, revision=await uow.changes.next_revision())
            await uow.changes.record(ModelUpdated(changed, self.clock.now()))
            await uow.commit()
        return changed


@dataclass(frozen=True, slots=True)
class UpdateVersion:
    """Changes the details of a version; an empty etag is not checked."""

    name: VersionName
    change: DetailsChange
    etag: str


@dataclass(frozen=True, slots=True)
class UpdateVersionHandler:
    """Changes description and tags of a version, archived or not; what is so already adds nothing."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, command: UpdateVersion) -> ModelVersion:
        """Returns the version after the change.

        Raises:
            StaleEtagError: It has changed since the caller read it.
        """
        async with self.unit_of_work() as uow:
            version = await uow.models.version(command.name)
            if version is None:
                raise VersionNotFoundError(str(command.name))
            if command.etag not in {"", version.etag}:
                raise StaleEtagError(str(command.name), command.etag)
            details = change_details(version.details, command.change)
            if details == version.details:
                return version
            revision = await uow.changes.next_revision()
            changed = replace(version, details=details, state_revision=revision)
            await uow.changes.record(VersionUpdated(changed))
            await uow.commit()
        return changed
