"""Serves `mltrainer.monitor.v1.MonitorService`."""

from dataclasses import dataclass

import grpc
from mltrainer.monitor.v1 import monitor_service_pb2 as pb
from mltrainer.monitor.v1.monitor_service_pb2_grpc import MonitorServiceServicer
from mltrainer.monitor.v1.resources_pb2 import DriftReport

from mltrainer_monitor.application.browse import Browse
from mltrainer_monitor.wire import requests
from mltrainer_monitor.wire.resources import from_report, from_score, from_status

Context = grpc.aio.ServicerContext[object, object]


@dataclass(frozen=True, slots=True)
class MonitorApi(MonitorServiceServicer):
    """Shows drift, scores and objectives."""

    browse: Browse

    async def GetDriftReport(self, request: pb.GetDriftReportRequest, context: Context) -> DriftReport:
        """Returns the newest drift report of a model."""
        return from_report(await self.browse.drift_report(requests.model_name("model", request.model)))

    async def ListModelScores(
        self, request: pb.ListModelScoresRequest, context: Context
    ) -> pb.ListModelScoresResponse:
        """Lists the scores of a model's versions, newest version first."""
        size = requests.page_size(request)
        model = requests.model_name("parent", request.parent)
        found = await self.browse.scores(model, requests.version_token(request), size + 1)
        page = found[:size]
        return pb.ListModelScoresResponse(
            model_scores=[from_score(score) for _, score in page],
            next_page_token=str(page[-1][0]) if len(found) > size else "",
        )

    async def ListServiceLevelObjectives(
        self, request: pb.ListServiceLevelObjectivesRequest, context: Context
    ) -> pb.ListServiceLevelObjectivesResponse:
        """Lists objectives by name; the page token is the last name of the page before."""
        size = requests.page_size(request)
        found = await self.browse.statuses(request.page_token, size + 1)
        page = found[:size]
        return pb.ListServiceLevelObjectivesResponse(
            service_level_objectives=[from_status(status) for status in page],
            next_page_token=page[-1].objective.name if len(found) > size else "",
        )
