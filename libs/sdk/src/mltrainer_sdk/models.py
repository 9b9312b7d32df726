"""Finds models and versions, and reads what is known about them."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from mltrainer.registry.v1.registry_service_pb2 import (
    GetAliasRequest,
    GetLineageRequest,
    GetModelCardRequest,
    ListDescendantsRequest,
    ListModelsRequest,
    ListModelVersionsRequest,
)
from mltrainer.registry.v1.resources_pb2 import LineageGraph, LineageNode, Model, ModelVersion

if TYPE_CHECKING:
    from mltrainer.registry.v1.registry_service_pb2 import Descendant
    from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

_PAGE_SIZE = 200
_DEFAULT_ALIAS = "champion"


class ModelCatalogue:
    """Reads the registry; filters and orders are those of docs/filters.md."""

    def __init__(self, registry: "RegistryServiceAsyncStub") -> None:
        self._registry = registry

    async def models(
        self, filter_text: str = "", order_by: str = "", page_size: int = _PAGE_SIZE
    ) -> AsyncIterator[Model]:
        """Yields models, reading further pages as they are needed."""
        request = ListModelsRequest(filter=filter_text, order_by=order_by, page_size=page_size)
        while True:
            page = await self._registry.ListModels(request)
            for model in page.models:
                yield model
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def versions(
        self,
        filter_text: str = "",
        order_by: str = "",
        *,
        model: str = "-",
        page_size: int = _PAGE_SIZE,
    ) -> AsyncIterator[ModelVersion]:
        """Yields versions of a model, or of all, reading further pages as they are needed."""
        request = ListModelVersionsRequest(
            parent=full_model_name(model), filter=filter_text, order_by=order_by, page_size=page_size
        )
        while True:
            page = await self._registry.ListModelVersions(request)
            for version in page.model_versions:
                yield version
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def version_name(self, model: str, version: str | int = _DEFAULT_ALIAS) -> str:
        """Names a version by its number, or by an alias that points to it.

        Raises:
            RpcFailure: There is no such alias.
        """
        name = full_model_name(model)
        if str(version).isdecimal():
            return f"{name}/versions/{version}"
        alias = await self._registry.GetAlias(GetAliasRequest(name=f"{name}/aliases/{version}"))
        return alias.version

    async def lineage(
        self, model: str, version: str | int = _DEFAULT_ALIAS, generations: int = 0
    ) -> LineageGraph:
        """Returns where a version comes from and what came of it."""
        name = await self.version_name(model, version)
        return await self._registry.GetLineage(GetLineageRequest(version=name, generations=generations))

    async def descendants(
        self, kind: "LineageNode.Kind.ValueType", name: str, page_size: int = _PAGE_SIZE
    ) -> AsyncIterator["Descendant"]:
        """Yields the versions that were made of something, such as a feature view version."""
        origin = LineageNode(kind=kind, name=name)
        request = ListDescendantsRequest(origin=origin, page_size=page_size)
        while True:
            page = await self._registry.ListDescendants(request)
            for descendant in page.descendants:
                yield descendant
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def card(self, model: str, version: str | int = _DEFAULT_ALIAS) -> str:
        """Returns the model card of a version, in Markdown."""
        name = await self.version_name(model, version)
        return (await self._registry.GetModelCard(GetModelCardRequest(version=name))).markdown


def full_model_name(model: str) -> str:
    """Completes an id to a name; a name stays as it is."""
    return model if model.startswith("models/") else f"models/{model}"
