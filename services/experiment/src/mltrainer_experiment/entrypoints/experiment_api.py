"""Answers the calls of `mltrainer.experiment.v1.ExperimentService`."""

from dataclasses import dataclass
from typing import Any

from mltrainer.experiment.v1 import experiment_service_pb2 as api
from mltrainer.experiment.v1 import resources_pb2 as resources
from mltrainer.experiment.v1.experiment_service_pb2_grpc import ExperimentServiceServicer

from mltrainer_experiment.application.assign_unit import AssignUnitHandler
from mltrainer_experiment.application.define_experiment import (
    CreateExperimentHandler,
    StartExperimentHandler,
    StopExperimentHandler,
)
from mltrainer_experiment.application.judge_experiment import GetExperimentHandler, GetResultHandler
from mltrainer_experiment.application.ports import ExperimentReader
from mltrainer_experiment.domain.validation import parse_experiment
from mltrainer_experiment.wire import requests
from mltrainer_experiment.wire import resources as wire


@dataclass(frozen=True, slots=True)
class ExperimentUseCases:
    """Everything the API calls."""

    create: CreateExperimentHandler
    start: StartExperimentHandler
    stop: StopExperimentHandler
    assign: AssignUnitHandler
    get_result: GetResultHandler
    get: GetExperimentHandler
    reader: ExperimentReader


class ExperimentApi(ExperimentServiceServicer):
    """Decodes, calls one use case, encodes."""

    def __init__(self, use_cases: ExperimentUseCases) -> None:
        self._use = use_cases

    async def CreateExperiment(
        self, request: api.CreateExperimentRequest, context: Any
    ) -> resources.Experiment:
        """Defines an experiment."""
        return wire.encode_experiment(await self._use.create(requests.to_create_experiment(request)))

    async def GetExperiment(self, request: api.GetExperimentRequest, context: Any) -> resources.Experiment:
        """Returns an experiment."""
        return wire.encode_experiment(await self._use.get(parse_experiment(request.name)))

    async def ListExperiments(
        self, request: api.ListExperimentsRequest, context: Any
    ) -> api.ListExperimentsResponse:
        """Lists experiments by name."""
        limit, cursor = requests.page_limit(request.page_size), requests.to_cursor(request.page_token)
        found = await self._use.reader.experiments(cursor, limit + 1)
        shown = found[:limit]
        return api.ListExperimentsResponse(
            experiments=map(wire.encode_experiment, shown),
            next_page_token=requests.to_page_token(shown[-1].experiment_id) if len(found) > limit else "",
        )

    async def StartExperiment(
        self, request: api.StartExperimentRequest, context: Any
    ) -> resources.Experiment:
        """Starts to assign units."""
        return wire.encode_experiment(await self._use.start(parse_experiment(request.name)))

    async def StopExperiment(self, request: api.StopExperimentRequest, context: Any) -> resources.Experiment:
        """Ends an experiment without a winner."""
        return wire.encode_experiment(await self._use.stop(parse_experiment(request.name)))

    async def AssignUnit(self, request: api.AssignUnitRequest, context: Any) -> api.AssignUnitResponse:
        """Returns the arm of a unit after its exposure is durable."""
        experiment_id = parse_experiment(request.experiment, "experiment")
        return wire.encode_arm(await self._use.assign(experiment_id, request.unit))

    async def GetExperimentResult(
        self, request: api.GetExperimentResultRequest, context: Any
    ) -> resources.ExperimentResult:
        """Returns what is known so far."""
        return wire.encode_result(await self._use.get_result(parse_experiment(request.name)))
