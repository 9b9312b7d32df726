"""Answers `mltrainer.feature.v1.OnlineFeatureService`."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from mltrainer.feature.v1 import online_service_pb2 as online_pb2

from mltrainer_feature.application.online_plans import PlanCache, SchemaSource
from mltrainer_feature.application.read_online import ReadOnlineHandler
from mltrainer_feature.wire.online_batches import (
    BatchPlan,
    batch_plan_key,
    make_batch_plan,
    read_response,
    stream_response,
    to_keys,
    to_numbers,
    to_rows,
    to_values,
)

SERVICE = "mltrainer.feature.v1.OnlineFeatureService"
MAX_BATCH_VALUES = 350_000
"""Of one answer: with statuses and times they stay below the 4 MiB of a message."""
_PART_VALUES = 50_000


class OnlineFeatureApi:
    """Decodes, reads, encodes. Replies are bytes: no message is built for their values."""

    def __init__(self, read_online: ReadOnlineHandler, schemas: SchemaSource) -> None:
        self._read_online = read_online
        self._plans: PlanCache[BatchPlan] = PlanCache(schemas)

    async def read_features(self, request: online_pb2.ReadFeaturesRequest, _context: Any) -> bytes:
        """Returns all rows at once."""
        plan = self._plan(request.query)
        values, row_count = to_values(request.query, plan)
        keys = to_keys(plan, values, 0, row_count)
        numbers = to_numbers(request.query, plan, row_count)
        answer = await self._read_online(plan.plan, keys, row_count, MAX_BATCH_VALUES)
        return read_response(to_rows(plan, answer, numbers))

    async def stream_features(
        self, request: online_pb2.StreamFeaturesRequest, _context: Any
    ) -> AsyncIterator[bytes]:
        """Returns rows part by part, each as it is when its turn comes."""
        plan = self._plan(request.query)
        values, row_count = to_values(request.query, plan)
        numbers = to_numbers(request.query, plan, row_count)
        size = max(1, _PART_VALUES // len(plan.plan.columns))
        for first in range(0, row_count, size):
            count = min(size, row_count - first)
            keys = to_keys(plan, values, first, count)
            answer = await self._read_online(plan.plan, keys, count, MAX_BATCH_VALUES)
            part = {name: column[first : first + count] for name, column in numbers.items()}
            yield stream_response(to_rows(plan, answer, part), first, count)

    def _plan(self, query: online_pb2.OnlineQuery) -> BatchPlan:
        return self._plans.get(batch_plan_key(query), lambda schema: make_batch_plan(query, schema))


def add_online_api(api: OnlineFeatureApi, server: grpc.aio.Server) -> None:
    """Adds the contract to a server."""
    read: Any = grpc.unary_unary_rpc_method_handler(
        api.read_features, online_pb2.ReadFeaturesRequest.FromString
    )
    stream: Any = grpc.unary_stream_rpc_method_handler(
        api.stream_features, online_pb2.StreamFeaturesRequest.FromString
    )
    methods = {"ReadFeatures": read, "StreamFeatures": stream}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
