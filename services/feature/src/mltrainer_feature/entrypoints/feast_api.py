"""Answers Feast's own `feast.serving.ServingService`."""

from typing import Any

from mltrainer_feature.application.read_online import ReadOnlineHandler
from mltrainer_feature.wire.feast import to_query, to_response
from mltrainer_feature.wire.feast_stubs import FEAST_VERSION, serving_pb2


class FeastServingApi:
    """Decodes, reads, encodes; nothing waits for a database."""

    def __init__(self, read_online: ReadOnlineHandler) -> None:
        self._read_online = read_online

    async def GetFeastServingInfo(self, _request: Any, _context: Any) -> Any:
        """Tells which Feast's contract is served."""
        return serving_pb2.GetFeastServingInfoResponse(version=FEAST_VERSION)

    async def GetOnlineFeatures(self, request: Any, _context: Any) -> Any:
        """Returns the newest features of symbols."""
        query = to_query(request)
        answer = self._read_online(query)
        return to_response(query, answer, full_feature_names=request.full_feature_names)
