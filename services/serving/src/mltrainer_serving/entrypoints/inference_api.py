"""Serves the Open Inference Protocol over gRPC."""

from dataclasses import dataclass
from importlib.metadata import version

import grpc
from inference import open_inference_pb2 as pb
from inference.open_inference_pb2_grpc import GRPCInferenceServiceServicer
from mltrainer_common.ids import new_id

from mltrainer_serving.application.predict import Predict, PredictHandler, describe
from mltrainer_serving.application.route_table import RouteTable
from mltrainer_serving.domain.errors import ServingError
from mltrainer_serving.wire.tensors import FEATURES, PREDICTION, InputTensors, event_time_of, to_response

Context = grpc.aio.ServicerContext[object, object]


@dataclass(frozen=True, slots=True)
class InferenceApi(GRPCInferenceServiceServicer):
    """Answers predictions and says what can be predicted.

    Models are named by model id; the version is a number, an alias, or empty for the champion. Optional
    parameters: `unit`, `event_time`; optional input: `symbol`.
    """

    predict: PredictHandler
    routes: RouteTable

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """Says that the process answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Says that predictions can be asked for; what is not loaded answers UNAVAILABLE by itself."""
        return pb.ServerReadyResponse(ready=True)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Names this server."""
        return pb.ServerMetadataResponse(name="mltrainer-serving", version=version("mltrainer-serving"))

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Says whether a model is loaded."""
        try:
            describe(self.routes, request.name, request.version)
        except ServingError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Says that predictions can be asked for; a model not loaded answers for itself."""
        model, number = describe(self.routes, request.name, request.version)
        response = pb.ModelMetadataResponse(name=request.name, versions=[str(number)], platform="mltrainer")
        response.inputs.add(name=FEATURES, datatype="FP64", shape=[-1, len(model.feature_names)])
        for name in model.feature_names:
            response.inputs.add(name=name, datatype="FP64", shape=[-1])
        response.outputs.add(name=PREDICTION, datatype="FP64", shape=[-1])
        return response

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Predicts one value per row."""
        inputs = InputTensors(request)
        call = Predict(
            model=request.model_name,
            version=request.model_version,
            request_id=request.id or new_id(),
            matrix_of=inputs.matrix,
            symbols=inputs.symbols(),
            event_time=event_time_of(request.parameters),
            unit=request.parameters["unit"].string_param if "unit" in request.parameters else "",
        )
        answer = self.predict(call)
        return to_response(request, answer.number, answer.alias, answer.values)
