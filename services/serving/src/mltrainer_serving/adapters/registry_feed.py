"""Follows the registry over `WatchModels`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mltrainer.registry.v1 import registry_service_pb2 as pb
from mltrainer_common.errors import RpcFailure

from mltrainer_serving.application.ports import AliasChange, CaughtUp, RegistryUnavailableError
from mltrainer_serving.domain.deployment import Version
from mltrainer_serving.wire.registry import to_alias_change, to_version

if TYPE_CHECKING:  # the name exists for type checkers only
    from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

WATCH_METHODS = ("/mltrainer.registry.v1.RegistryService/GetModelVersion",)


@dataclass(slots=True)
class GrpcRegistryFeed:
    """Yields alias changes; versions are remembered, or fetched where the stream began after them."""

    stub: "RegistryServiceAsyncStub"
    _versions: dict[str, Version] = field(default_factory=dict)

    async def changes(self, from_revision: int) -> AsyncIterator[AliasChange | CaughtUp]:
        """Yields changes until the stream breaks."""
        request = pb.WatchModelsRequest(from_revision=from_revision)
        try:
            async for response in self.stub.WatchModels(request):
                match response.WhichOneof("change"):
                    case "version":
                        self._versions[response.version.name] = to_version(response.version)
                    case "alias":
                        version = await self._version(response.alias.version)
                        yield to_alias_change(response.alias, version, response.traceparent)
                    case "bookmark":
                        yield CaughtUp(response.revision)
        except RpcFailure as error:
            raise RegistryUnavailableError(str(error)) from error
        raise RegistryUnavailableError("the registry ended the stream")

    async def _version(self, name: str) -> Version:
        if name not in self._versions:
            self._versions[name] = to_version(
                await self.stub.GetModelVersion(pb.GetModelVersionRequest(name=name))
            )
        return self._versions[name]
