"""Answers searches and the calls about lineage and model cards."""

from dataclasses import dataclass
from typing import Any

from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceServicer

from mltrainer_registry.application.describe_version import DescribeVersionHandler
from mltrainer_registry.application.search_ports import LineageReader, ModelSearch
from mltrainer_registry.application.trace_lineage import TraceLineageHandler
from mltrainer_registry.domain.names import parse_models, parse_version
from mltrainer_registry.entrypoints.reads import at_revision
from mltrainer_registry.wire import searches as wire
from mltrainer_registry.wire.cards import to_card
from mltrainer_registry.wire.requests import page_limit, to_cursor, to_page_token
from mltrainer_registry.wire.resources import encode_model, encode_version


@dataclass(frozen=True, slots=True)
class SearchUseCases:
    """Everything that finds and describes."""

    search: ModelSearch
    lineage: LineageReader
    trace_lineage: TraceLineageHandler
    describe_version: DescribeVersionHandler


class SearchMethods(RegistryServiceServicer):
    """Decodes, calls one use case, encodes."""

    _search: SearchUseCases

    @at_revision
    async def ListModels(self, request: api.ListModelsRequest, context: Any) -> api.ListModelsResponse:
        """Lists models, by name unless ordered otherwise."""
        limit, cursor = page_limit(request.page_size), to_cursor(request.page_token)
        page = await self._search.search.models(wire.to_model_search(request), limit, cursor)
        return api.ListModelsResponse(
            models=map(encode_model, page.items), next_page_token=to_page_token(page.next_cursor)
        )

    @at_revision
    async def ListModelVersions(
        self, request: api.ListModelVersionsRequest, context: Any
    ) -> api.ListModelVersionsResponse:
        """Lists the versions of a model or of all, newest first unless ordered otherwise."""
        limit, cursor = page_limit(request.page_size), to_cursor(request.page_token)
        model = parse_models(request.parent)
        search = wire.to_version_search(request, model)
        page = await self._search.search.versions(model, search, limit, cursor)
        return api.ListModelVersionsResponse(
            model_versions=map(encode_version, page.items), next_page_token=to_page_token(page.next_cursor)
        )

    @at_revision
    async def GetModelCard(self, request: api.GetModelCardRequest, context: Any) -> resources.ModelCard:
        """Returns the model card of a version."""
        return to_card(await self._search.describe_version(parse_version(request.version, "version")))

    @at_revision
    async def GetLineage(self, request: api.GetLineageRequest, context: Any) -> resources.LineageGraph:
        """Returns where a version comes from and what came of it."""
        name = parse_version(request.version, "version")
        generations = wire.to_generations(request.generations)
        return wire.encode_graph(await self._search.trace_lineage(name, generations))

    @at_revision
    async def ListDescendants(
        self, request: api.ListDescendantsRequest, context: Any
    ) -> api.ListDescendantsResponse:
        """Lists the versions that were made of something."""
        limit, cursor = page_limit(request.page_size), to_cursor(request.page_token)
        page = await self._search.lineage.descendants(wire.to_origin(request.origin), limit, cursor)
        return api.ListDescendantsResponse(
            descendants=map(wire.encode_descendant, page.items),
            next_page_token=to_page_token(page.next_cursor),
        )
