"""Takes versions of other installations in: uploaded, numbered by the registry, and once only."""

import hashlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from mltrainer_models import ManifestEntry

from mltrainer_cli.calls import full_name
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.model_archive import ModelArchive, OpenArchive
from mltrainer_cli.model_transfer import FENCING_TOKEN, SourceFile, upload

if TYPE_CHECKING:
    from mltrainer.registry.v1.resources_pb2 import ModelVersion, Origin
    from mltrainer_sdk import Client

FORMAT = "mltrainer-model"


def imported_training(source: str, version: str, manifest_digest: str) -> str:
    """Names the training that an import stands for: a training has at most one version, so an import too."""
    identity = f"{source}\n{version}\n{manifest_digest}"
    return f"trainings/imported-{hashlib.sha256(identity.encode()).hexdigest()[:32]}"


async def create_version(client: "Client", model: str, version: "ModelVersion") -> "ModelVersion":
    """Creates an imported version from what was uploaded, or returns the one that is there."""
    from google.protobuf.field_mask_pb2 import FieldMask
    from mltrainer.registry.v1.registry_service_pb2 import (
        CreateModelVersionRequest,
        UpdateModelVersionRequest,
    )

    request = CreateModelVersionRequest(parent=model, model_version=version, fencing_token=FENCING_TOKEN)
    created = await client.registry.CreateModelVersion(request)
    is_described = bool(version.description or version.tags)
    # Whoever has changed the description here since the first import keeps it.
    if not is_described or created.update_revision != created.revision:
        return created
    described = type(version)(name=created.name, description=version.description, tags=version.tags)
    mask = FieldMask(paths=["description", "tags"])
    return await client.registry.UpdateModelVersion(
        UpdateModelVersionRequest(model_version=described, update_mask=mask)
    )


@dataclass(frozen=True, slots=True)
class ArchiveImport:
    """Takes in one verified archive.

    Attributes:
        own_source: Name of this installation, whose own exports are here already.
        model: Model to become a version of; that of the archive where empty.
    """

    opened: OpenArchive
    archive: ModelArchive
    own_source: str
    model: str

    async def run(self, client: "Client") -> "ModelVersion":
        """Returns the version."""
        message = self._message()
        origin = self._origin(message)
        if not self.model and (found := await self._present(client, origin)):
            return found
        model = full_name("models", self.model or message.name.split("/")[1])
        training = imported_training(origin.source, origin.version, self.archive.manifest_digest)
        files = [SourceFile(entry, self._opener(entry)) for entry in self.archive.entries]
        message.manifest.digest = await upload(client, training, model, files, lambda _: None)
        message.training = training
        message.origin.CopyFrom(origin)
        return await create_version(client, model, message)

    def _message(self) -> "ModelVersion":
        from google.protobuf.json_format import ParseDict, ParseError
        from mltrainer.registry.v1.resources_pb2 import ModelVersion

        message = ModelVersion()
        try:
            ParseDict(dict(self.archive.version), message, ignore_unknown_fields=True)
        except ParseError as error:
            raise CliError(
                f"The archive cannot be used: its description is malformed ({error}).", ExitCode.REJECTED
            ) from error
        if len(message.name.split("/")) != 4:
            raise CliError("The archive cannot be used: it names no version.", ExitCode.REJECTED)
        return message

    def _origin(self, message: "ModelVersion") -> "Origin":
        from mltrainer.registry.v1.resources_pb2 import Origin

        if message.HasField("origin"):
            return message.origin
        return Origin(
            source=self.archive.source,
            version=message.name,
            create_time=message.create_time if message.HasField("create_time") else None,
            format=FORMAT,
        )

    async def _present(self, client: "Client", origin: "Origin") -> "ModelVersion | None":
        from grpc import StatusCode
        from mltrainer.registry.v1.registry_service_pb2 import GetModelVersionRequest
        from mltrainer_common.errors import RpcFailure

        if origin.source != self.own_source:
            return None
        try:
            found = await client.registry.GetModelVersion(GetModelVersionRequest(name=origin.version))
        except RpcFailure as failure:
            if failure.code is StatusCode.NOT_FOUND:
                return None
            raise
        return found if found.manifest.digest == self.archive.manifest_digest else None

    def _opener(self, entry: ManifestEntry) -> "Opener":
        return Opener(self.opened, entry)


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens a file of an archive."""

    opened: OpenArchive
    entry: ManifestEntry

    def __call__(self) -> IO[bytes]:
        """Opens it from its beginning."""
        return self.opened.open(self.entry)
