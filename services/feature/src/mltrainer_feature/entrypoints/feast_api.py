"""Answers Feast's `feast.serving.ServingService`, and the same reads under the name of `feast listen`."""

from typing import Any

import grpc

from mltrainer_feature.application.online_plans import PlanCache, SchemaSource
from mltrainer_feature.application.read_online import ReadOnlineHandler
from mltrainer_feature.wire.feast import FeastPlan, make_plan, plan_key, serving_info, to_read, to_response
from mltrainer_feature.wire.feast_stubs import FEAST_VERSION, serving_pb2

SERVING_SERVICE = "feast.serving.ServingService"
LISTEN_SERVICE = "GrpcFeatureServer"


class FeastServingApi:
    """Decodes, reads, encodes. Replies are bytes: no message is built for them."""

    def __init__(self, read_online: ReadOnlineHandler, schemas: SchemaSource) -> None:
        self._read_online = read_online
        self._plans: PlanCache[FeastPlan] = PlanCache(schemas)

    async def get_feast_serving_info(self, _request: bytes, _context: Any) -> bytes:
        """Tells which Feast's contract is served."""
        return serving_info(FEAST_VERSION)

    async def get_online_features(self, request: Any, _context: Any) -> bytes:
        """Returns the newest features of entities."""
        plan = self._plans.get(plan_key(request), lambda schema: make_plan(request, schema))
        read = to_read(request, plan)
        return to_response(plan, read, await self._read_online(plan.plan, read.keys, read.row_count))


def add_feast_api(api: FeastServingApi, server: grpc.aio.Server) -> None:
    """Adds both contracts to a server."""
    read: Any = grpc.unary_unary_rpc_method_handler(
        api.get_online_features, serving_pb2.GetOnlineFeaturesRequest.FromString
    )
    info: Any = grpc.unary_unary_rpc_method_handler(api.get_feast_serving_info)
    methods = {"GetOnlineFeatures": read, "GetFeastServingInfo": info}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVING_SERVICE, methods),
            grpc.method_handlers_generic_handler(LISTEN_SERVICE, {"GetOnlineFeatures": read}),
        )
    )
