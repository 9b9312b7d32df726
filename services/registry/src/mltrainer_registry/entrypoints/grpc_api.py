"""Answers the calls of `mltrainer.registry.v1.RegistryService`."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources

from mltrainer_registry.application.archive_version import ArchiveVersionHandler
from mltrainer_registry.application.collect_garbage import CollectGarbageHandler
from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.application.move_alias import MoveAlias, RollBackAlias
from mltrainer_registry.application.ports import RegistryReader
from mltrainer_registry.application.reach_revision import ReachRevisionHandler
from mltrainer_registry.application.read_models import (
    DownloadArtifactHandler,
    GetAliasHandler,
    GetModelHandler,
)
from mltrainer_registry.application.request_version import RequestVersionHandler
from mltrainer_registry.application.upload_artifact import FilePiece, GetUploadHandler, UploadArtifactHandler
from mltrainer_registry.application.watch_models import WatchModelsHandler
from mltrainer_registry.domain.aliases import Alias
from mltrainer_registry.domain.names import parse_alias, parse_model, parse_version
from mltrainer_registry.entrypoints.actors import actor
from mltrainer_registry.entrypoints.governance_api import GovernanceMethods, GovernanceUseCases
from mltrainer_registry.entrypoints.reads import AliasAnswers, at_revision
from mltrainer_registry.entrypoints.search_api import SearchMethods, SearchUseCases
from mltrainer_registry.wire import requests
from mltrainer_registry.wire import resources as wire
from mltrainer_registry.wire.times import from_timestamp


@dataclass(frozen=True, slots=True)
class RegistryUseCases:
    """Everything the API calls."""

    reader: RegistryReader
    follower: ChangeFollower
    reach_revision: ReachRevisionHandler
    get_model: GetModelHandler
    get_alias: GetAliasHandler
    move_alias: Callable[[MoveAlias], Awaitable[Alias]]
    roll_back_alias: Callable[[RollBackAlias], Awaitable[Alias]]
    request_version: RequestVersionHandler
    archive_version: ArchiveVersionHandler
    watch_models: WatchModelsHandler
    upload_artifact: UploadArtifactHandler
    get_upload: GetUploadHandler
    collect_garbage: CollectGarbageHandler
    download_artifact: DownloadArtifactHandler
    governance: GovernanceUseCases
    search: SearchUseCases


class RegistryApi(GovernanceMethods, SearchMethods):
    """Decodes, calls one use case, encodes."""

    def __init__(self, use_cases: RegistryUseCases) -> None:
        self._use = use_cases
        self._governance = use_cases.governance
        self._search = use_cases.search
        self._aliases = AliasAnswers(use_cases.follower)

    @at_revision
    async def GetModel(self, request: api.GetModelRequest, context: Any) -> resources.Model:
        """Returns a model."""
        return wire.encode_model(await self._use.get_model(parse_model(request.name)))

    @at_revision
    async def GetModelVersion(
        self, request: api.GetModelVersionRequest, context: Any
    ) -> resources.ModelVersion:
        """Returns a version."""
        return wire.encode_version(await self._use.follower.version(parse_version(request.name)))

    async def CreateModelVersion(
        self, request: api.CreateModelVersionRequest, context: Any
    ) -> resources.ModelVersion:
        """Creates a version from what a training has uploaded."""
        return wire.encode_version(await self._use.request_version(requests.to_create_version(request)))

    async def ArchiveModelVersion(
        self, request: api.ArchiveModelVersionRequest, context: Any
    ) -> resources.ModelVersion:
        """Takes a version out of service for good."""
        return wire.encode_version(await self._use.archive_version(requests.to_archive_version(request)))

    @at_revision
    async def GetAlias(self, request: api.GetAliasRequest, context: Any) -> resources.Alias:
        """Returns where an alias points, or pointed at a time."""
        if not request.HasField("as_of"):
            return self._aliases.answer(request.name)
        as_of_time = from_timestamp(request.as_of, "as_of")
        return wire.encode_alias(await self._use.get_alias(parse_alias(request.name), as_of_time))

    async def MoveAlias(self, request: api.MoveAliasRequest, context: Any) -> resources.Alias:
        """Moves an alias if it still points where the caller believes."""
        command = requests.to_move_alias(request, actor())
        return wire.encode_alias(await self._use.move_alias(command))

    async def RollBackAlias(self, request: api.RollBackAliasRequest, context: Any) -> resources.Alias:
        """Points an alias where it pointed before its last move."""
        command = requests.to_roll_back_alias(request, actor())
        return wire.encode_alias(await self._use.roll_back_alias(command))

    @at_revision
    async def ListAliasMoves(
        self, request: api.ListAliasMovesRequest, context: Any
    ) -> api.ListAliasMovesResponse:
        """Lists the moves of an alias, newest first."""
        limit, cursor = requests.page_limit(request.page_size), requests.to_cursor(request.page_token)
        page = await self._use.reader.alias_moves(parse_alias(request.parent, "parent"), limit, cursor)
        return api.ListAliasMovesResponse(
            alias_moves=map(wire.encode_move, page.items),
            next_page_token=requests.to_page_token(page.next_cursor),
        )

    @at_revision
    async def ListGateEvaluations(
        self, request: api.ListGateEvaluationsRequest, context: Any
    ) -> api.ListGateEvaluationsResponse:
        """Lists the gate evaluations of a version, newest first."""
        limit, cursor = requests.page_limit(request.page_size), requests.to_cursor(request.page_token)
        name = parse_version(request.parent, "parent")
        page = await self._use.reader.gate_evaluations(name, limit, cursor)
        return api.ListGateEvaluationsResponse(
            gate_evaluations=map(wire.encode_evaluation, page.items),
            next_page_token=requests.to_page_token(page.next_cursor),
        )

    async def WatchModels(
        self, request: api.WatchModelsRequest, context: Any
    ) -> AsyncIterator[api.WatchModelsResponse]:
        """Streams every change after a revision."""
        async with aclosing(self._use.watch_models(request.from_revision)) as items:
            async for item in items:
                yield wire.encode_watch_item(item)

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[api.UploadArtifactRequest], context: Any
    ) -> api.UploadArtifactResponse:
        """Takes the artifacts of an attempt."""
        messages = aiter(request_iterator)
        command = requests.to_upload_artifact(await anext(messages, None))
        async with aclosing(_pieces(messages)) as pieces:
            manifest = await self._use.upload_artifact(command, pieces)
        return api.UploadArtifactResponse(manifest_digest=manifest.digest)

    async def GetUpload(self, request: api.GetUploadRequest, context: Any) -> api.GetUploadResponse:
        """Says what the server holds of an upload."""
        return wire.encode_held_files(await self._use.get_upload(requests.to_upload(request.header)))

    async def CollectGarbage(
        self, request: api.CollectGarbageRequest, context: Any
    ) -> api.CollectGarbageResponse:
        """Deletes stored content that nothing refers to, or counts it."""
        report = await self._use.collect_garbage(dry_run=request.dry_run, grace=requests.to_grace(request))
        return wire.encode_garbage_report(report)

    async def DownloadArtifact(
        self, request: api.DownloadArtifactRequest, context: Any
    ) -> AsyncIterator[api.DownloadArtifactResponse]:
        """Streams the bytes of one file of a version."""
        name = parse_version(request.version, "version")
        async with aclosing(self._use.download_artifact(name, request.path, request.offset_bytes)) as pieces:
            async for piece in pieces:
                yield api.DownloadArtifactResponse(data=piece)


async def _pieces(
    messages: AsyncIterator[api.UploadArtifactRequest],
) -> AsyncGenerator[FilePiece, None]:
    async for message in messages:
        yield requests.to_file_piece(message)
