"""Serves `mltrainer.serving.v1.ServingService`."""

from dataclasses import dataclass

import grpc
from mltrainer.serving.v1 import serving_service_pb2 as pb
from mltrainer.serving.v1.serving_service_pb2_grpc import ServingServiceServicer

from mltrainer_serving.application.route_table import RouteTable
from mltrainer_serving.domain.deployment import CHAMPION
from mltrainer_serving.domain.errors import DeploymentNotFoundError
from mltrainer_serving.wire.deployments import to_deployment

Context = grpc.aio.ServicerContext[object, object]
_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class ServingApi(ServingServiceServicer):
    """Shows deployments."""

    routes: RouteTable

    async def GetDeployment(self, request: pb.GetDeploymentRequest, context: Context) -> pb.Deployment:
        """Returns one deployment."""
        prefix, _, model = request.name.partition("/")
        if prefix != "deployments":
            raise DeploymentNotFoundError(request.name)
        return self._deployment(model)

    async def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: Context
    ) -> pb.ListDeploymentsResponse:
        """Lists deployments; the page token is the last name of the page before."""
        size = min(request.page_size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
        following = [model for model in self.routes.models() if model > request.page_token]
        page = following[:size]
        return pb.ListDeploymentsResponse(
            deployments=[self._deployment(model) for model in page],
            next_page_token=page[-1] if len(following) > size else "",
        )

    def _deployment(self, model: str) -> pb.Deployment:
        deployment = self.routes.deployment(model)
        champion = self.routes.get(model, CHAMPION)
        names = champion.model.feature_names if champion and champion.model else ()
        return to_deployment(deployment, names)
