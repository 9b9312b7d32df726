"""Asks a stand-in feature service how its views are defined."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mltrainer.feature.v1.feature_service_pb2 import (
    ListFeatureViewsRequest,
    ListFeatureViewsResponse,
    ListOnDemandFeatureViewsRequest,
    ListOnDemandFeatureViewsResponse,
    OnDemandFeatureView,
)
from mltrainer.feature.v1.feature_service_pb2_grpc import (
    FeatureServiceServicer,
    FeatureServiceStub,
    add_FeatureServiceServicer_to_server,
)
from mltrainer.feature.v1.resources_pb2 import FeatureView
from mltrainer_common.authorization import READERS, RoleTable
from mltrainer_common.service import ServiceContext, ServiceParts, start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_serving.adapters.feature_views import VIEW_METHODS, RpcFeatureViews
from pydantic_settings import BaseSettings


class StubFeatureService(FeatureServiceServicer):
    """Defines two stored views, a page each, and an on-demand one."""

    async def ListFeatureViews(
        self, request: ListFeatureViewsRequest, context: Any
    ) -> ListFeatureViewsResponse:
        view = FeatureView(name=f"featureViews/view{len(request.page_token)}", definition_digest="d")
        return ListFeatureViewsResponse(
            feature_views=[view], next_page_token="" if request.page_token else "x"
        )

    async def ListOnDemandFeatureViews(
        self, request: ListOnDemandFeatureViewsRequest, context: Any
    ) -> ListOnDemandFeatureViewsResponse:
        return ListOnDemandFeatureViewsResponse(
            views=[OnDemandFeatureView(name="computed", definition_digest="o")]
        )


@asynccontextmanager
async def feature_service(directory: Path) -> AsyncIterator[ServiceContext]:
    async def assemble(context: ServiceContext, settings: BaseSettings) -> ServiceParts:
        roles = RoleTable(dict.fromkeys(VIEW_METHODS, READERS))
        add = [lambda server: add_FeatureServiceServicer_to_server(StubFeatureService(), server)]
        return ServiceParts(servicers=add, roles=roles, map_error=lambda error: None)

    platform = PlatformSettings(data_directory=directory, kafka_bootstrap_servers="127.0.0.1:1")
    async with start_service("feature", platform, BaseSettings(), assemble) as running:
        yield running.context


async def test_the_digests_of_all_pages_and_of_on_demand_views_are_read(tmp_path: Path) -> None:
    async with feature_service(tmp_path) as context:
        views = RpcFeatureViews(FeatureServiceStub(context.channel("feature")))

        digests = await views.digests()

    assert digests == {"view0": "d", "view1": "d", "computed": "o"}
