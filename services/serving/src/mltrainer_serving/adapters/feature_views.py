"""Asks the feature service how its views are defined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrainer.feature.v1.feature_service_pb2 import ListFeatureViewsRequest, ListOnDemandFeatureViewsRequest
from mltrainer_common.errors import RpcFailure

from mltrainer_serving.application.ports import FeatureViewsUnknownError

if TYPE_CHECKING:  # the name exists for type checkers only
    from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceAsyncStub

_SERVICE = "/mltrainer.feature.v1.FeatureService"
VIEW_METHODS = (f"{_SERVICE}/ListFeatureViews", f"{_SERVICE}/ListOnDemandFeatureViews")
_PAGE_SIZE = 1_000


@dataclass(frozen=True, slots=True)
class RpcFeatureViews:
    """Implements `FeatureViews`; a load asks anew, since a definition may have changed since the last one."""

    stub: "FeatureServiceAsyncStub"

    async def digests(self) -> Mapping[str, str]:
        """Returns the digest of every view's definition, stored views and on-demand ones alike."""
        try:
            return {**await self._stored(), **await self._on_demand()}
        except RpcFailure as failure:
            raise FeatureViewsUnknownError(f"the feature service answers {failure.code.name}") from failure

    async def _stored(self) -> dict[str, str]:
        digests: dict[str, str] = {}
        request = ListFeatureViewsRequest(page_size=_PAGE_SIZE)
        while True:
            page = await self.stub.ListFeatureViews(request)
            digests.update(
                (view.name.removeprefix("featureViews/"), view.definition_digest)
                for view in page.feature_views
            )
            if not page.next_page_token:
                return digests
            request.page_token = page.next_page_token

    async def _on_demand(self) -> dict[str, str]:
        answer = await self.stub.ListOnDemandFeatureViews(ListOnDemandFeatureViewsRequest())
        return {view.name: view.definition_digest for view in answer.views}
