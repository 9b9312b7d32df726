"""The client: typed stubs of every service and the few calls most users need."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from feast_wire.online_pb2 import GetOnlineFeaturesRequest, GetOnlineFeaturesResponse
from google.protobuf.message import Message
from inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from mltrainer.chaos.v1.chaos_service_pb2_grpc import ChaosServiceStub
from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2_grpc import CostOptimizerServiceStub
from mltrainer.experiment.v1.experiment_service_pb2 import AssignUnitRequest, AssignUnitResponse
from mltrainer.experiment.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer.feature.v1.feature_service_pb2 import ListFeatureViewsRequest
from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceStub
from mltrainer.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.scheduler.v1.scheduler_service_pb2 import LookupTrainingRequest
from mltrainer.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from mltrainer.serving.v1.serving_service_pb2_grpc import ServingServiceStub
from mltrainer.trainer.v1.retraining_service_pb2_grpc import RetrainingServiceStub
from mltrainer.trainer.v1.trainer_service_pb2_grpc import TrainerServiceStub
from mltrainer_common.authorization import Role
from mltrainer_common.clock import SystemClock
from mltrainer_common.errors import RpcFailure
from mltrainer_common.ids import new_id
from mltrainer_common.settings import PlatformSettings
from mltrainer_messaging.envelope import encode_event
from mltrainer_messaging.topics import topic_of
from numpy.typing import ArrayLike
from opentelemetry.trace import Tracer

from mltrainer_sdk import features, predictions
from mltrainer_sdk.connection import Connection, embedded_platform, open_connection
from mltrainer_sdk.models import ModelCatalogue
from mltrainer_sdk.trainings import TERMINAL_STATES, TrainingNotFinishedError

if TYPE_CHECKING:  # the asynchronous stub types exist for type checkers only
    from inference.open_inference_pb2_grpc import GRPCInferenceServiceAsyncStub
    from mltrainer.chaos.v1.chaos_service_pb2_grpc import ChaosServiceAsyncStub
    from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2_grpc import CostOptimizerServiceAsyncStub
    from mltrainer.experiment.v1.experiment_service_pb2_grpc import ExperimentServiceAsyncStub
    from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceAsyncStub
    from mltrainer.monitor.v1.monitor_service_pb2_grpc import MonitorServiceAsyncStub
    from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub
    from mltrainer.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceAsyncStub
    from mltrainer.serving.v1.serving_service_pb2_grpc import ServingServiceAsyncStub
    from mltrainer.trainer.v1.retraining_service_pb2_grpc import RetrainingServiceAsyncStub
    from mltrainer.trainer.v1.trainer_service_pb2_grpc import TrainerServiceAsyncStub

_POLL_S = 0.25
_BAR_BATCH = 2_000
_PASSING = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class Client:
    """Calls the platform; make one with `connect`. Safe for concurrent use within one event loop."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._online_features = connection.channel("feature").unary_unary(
            features.METHOD,
            request_serializer=GetOnlineFeaturesRequest.SerializeToString,
            response_deserializer=GetOnlineFeaturesResponse.FromString,
        )

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        data_directory: Path | str | None = None,
        *,
        subject: str = "sdk",
        roles: Iterable[Role] = (Role.TRADER, Role.PRODUCER),
        tracer: Tracer | None = None,
        platform: PlatformSettings | None = None,
    ) -> AsyncIterator["Client"]:
        """Connects to the stack of a data directory, or as `MLTRAINER_…` variables say.

        The subject and roles enter every token; ask for the least that the work needs.
        """
        if platform is None:
            platform = PlatformSettings()
            if data_directory is not None:
                platform = embedded_platform(Path(data_directory), platform)
        async with open_connection(platform, subject, roles, tracer) as connection:
            yield cls(connection)

    @cached_property
    def registry(self) -> "RegistryServiceAsyncStub":
        """Models, versions and aliases."""
        return RegistryServiceStub(self.connection.channel("registry"))

    @cached_property
    def models(self) -> ModelCatalogue:
        """Searches, lineage and model cards."""
        return ModelCatalogue(self.registry)

    @cached_property
    def feature(self) -> "FeatureServiceAsyncStub":
        """Feature views and datasets."""
        return FeatureServiceStub(self.connection.channel("feature"))

    @cached_property
    def scheduler(self) -> "SchedulerServiceAsyncStub":
        """Trainings, allocations and nodes."""
        return SchedulerServiceStub(self.connection.channel("scheduler"))

    @cached_property
    def trainer(self) -> "TrainerServiceAsyncStub":
        """Studies, trials and attempts."""
        return TrainerServiceStub(self.connection.channel("trainer"))

    @cached_property
    def retraining(self) -> "RetrainingServiceAsyncStub":
        """Trainings that a calendar or drift asks for."""
        return RetrainingServiceStub(self.connection.channel("trainer"))

    @cached_property
    def serving(self) -> "ServingServiceAsyncStub":
        """Deployments."""
        return ServingServiceStub(self.connection.channel("serving"))

    @cached_property
    def inference(self) -> "GRPCInferenceServiceAsyncStub":
        """The Open Inference Protocol."""
        return GRPCInferenceServiceStub(self.connection.channel("serving"))

    @cached_property
    def experiment(self) -> "ExperimentServiceAsyncStub":
        """A/B experiments."""
        return ExperimentServiceStub(self.connection.channel("experiment"))

    @cached_property
    def monitor(self) -> "MonitorServiceAsyncStub":
        """Drift, scores and objectives."""
        return MonitorServiceStub(self.connection.channel("monitor"))

    @cached_property
    def cost_optimizer(self) -> "CostOptimizerServiceAsyncStub":
        """The bill and waste."""
        return CostOptimizerServiceStub(self.connection.channel("cost-optimizer"))

    @cached_property
    def chaos(self) -> "ChaosServiceAsyncStub":
        """Chaos experiments."""
        return ChaosServiceStub(self.connection.channel("chaos"))

    async def publish(self, event: Message, event_id: str | None = None) -> str:
        """Publishes one event and returns its id; the same id again is harmless.

        Raises:
            BrokerUnavailableError: The event was perhaps not stored.
        """
        return await self.connection.publisher.publish(event, event_id)

    async def publish_bars(self, bars: Sequence[BarClosed]) -> None:
        """Publishes bars in order; publishing them again is harmless.

        Raises:
            BrokerUnavailableError: Some were perhaps not stored.
        """
        await self.connection.broker.ensure_topics([topic_of(BarClosed)])
        now = SystemClock().now()
        for start in range(0, len(bars), _BAR_BATCH):
            events = [
                encode_event(
                    bar,
                    source="/mltrainer/data-source",
                    event_id=f"{bar.symbol}-{bar.event_time.seconds}-{bar.knowledge_time.seconds}",
                    time=now,
                    traceparent=None,
                )
                for bar in bars[start : start + _BAR_BATCH]
            ]
            await self.connection.broker.publisher.publish(events)

    async def request_training(self, request: TrainingRequested) -> str:
        """Publishes a request and returns its id, which is made here where the caller set none."""
        if not request.request_id:
            request.request_id = new_id()
        with self.connection.tracer.start_as_current_span("request_training"):
            await self.publish(request)
        return request.request_id

    async def wait_for_training(
        self,
        request_id: str,
        timeout_s: float = 600.0,
        on_change: Callable[[Training], None] | None = None,
    ) -> Training:
        """Polls until the training has ended, through restarts of the scheduler.

        Raises:
            TrainingNotFinishedError: The time is over; the training goes on.
            RpcFailure: The scheduler refuses to answer.
        """
        until_s = time.monotonic() + timeout_s
        training: Training | None = None
        while time.monotonic() < until_s:
            try:
                latest = await self.scheduler.LookupTraining(LookupTrainingRequest(request_id=request_id))
            except RpcFailure as failure:
                if failure.code not in _PASSING:
                    raise
            else:
                if on_change and (training is None or latest.revision != training.revision):
                    on_change(latest)
                training = latest
                if training.state in TERMINAL_STATES:
                    return training
            await asyncio.sleep(_POLL_S)
        raise TrainingNotFinishedError(request_id, training, timeout_s)

    async def get_features(
        self, symbols: Sequence[str], names: Sequence[str] | str, *, allow_stale: bool = False
    ) -> features.FeatureVectors:
        """Reads the newest features of symbols: `view:feature` names, or the name of a feature service.

        Values older than their view's TTL on the market clock are NaN unless `allow_stale`.
        """
        response = await self._online_features(features.to_request(symbols, names))
        return features.from_response(symbols, response, allow_stale=allow_stale)

    async def feature_references(self, names: Sequence[str]) -> list[str]:
        """Turns the feature names of a model into the `view:feature` names that `get_features` reads.

        Raises:
            KeyError: No feature view has that feature.
        """
        response = await self.feature.ListFeatureViews(ListFeatureViewsRequest(page_size=1000))
        views = {
            item.name: view.name.removeprefix("featureViews/")
            for view in response.feature_views
            for item in view.features
        }
        return [f"{views[name]}:{name}" for name in names]

    async def predict(self, model: str, matrix: ArrayLike, **options: Any) -> predictions.Predictions:
        """Predicts rows of features; `options` are those of `predictions.to_request`."""
        response = await self.inference.ModelInfer(predictions.to_request(model, matrix, **options))
        return predictions.from_response(response)

    async def assign(self, experiment: str, unit: str) -> AssignUnitResponse:
        """Returns the variant of a unit, such as `momentum/AAPL/2022-06-01`, and logs the exposure."""
        name = experiment if experiment.startswith("experiments/") else f"experiments/{experiment}"
        return await self.experiment.AssignUnit(AssignUnitRequest(experiment=name, unit=unit))


def bar(symbol: str, event_time: datetime, close: float) -> BarClosed:
    """Makes a bar with a close only, known when it closes."""
    message = BarClosed(symbol=symbol, close=close, adjusted=True)
    message.event_time.FromDatetime(event_time)
    message.knowledge_time.FromDatetime(event_time)
    return message
