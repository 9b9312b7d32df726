"""Starts the real service with a stand-in registry, SQLite and no broker within reach."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse, ModelMetadataRequest
from inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from mltrainer.registry.v1 import registry_service_pb2 as registry
from mltrainer.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)
from mltrainer.registry.v1.resources_pb2 import ModelVersion
from mltrainer.serving.v1.serving_service_pb2 import GetDeploymentRequest
from mltrainer.serving.v1.serving_service_pb2_grpc import ServingServiceStub
from mltrainer_common.authorization import READERS, RoleTable
from mltrainer_common.content_store import ContentStore
from mltrainer_common.errors import RpcFailure
from mltrainer_common.service import RunningService, ServiceContext, ServiceParts, start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_models import LinearModel, ModelDescription, ModelTarget, model_store_url
from mltrainer_serving.bootstrap import assemble
from mltrainer_serving.settings import ServingSettings
from pydantic_settings import BaseSettings

NAMES = ("a", "b")


class StubRegistry(RegistryServiceServicer):
    def __init__(self) -> None:
        self.changes: list[registry.WatchModelsResponse] = []
        self.moved = asyncio.Condition()

    async def point(self, version: ModelVersion, revision: int) -> None:
        alias = registry.WatchModelsResponse(revision=revision)
        alias.alias.name, alias.alias.version = "models/vol5/aliases/champion", version.name
        alias.alias.revision = revision
        async with self.moved:
            self.changes.append(registry.WatchModelsResponse(revision=revision, version=version))
            self.changes.append(alias)
            self.changes.append(registry.WatchModelsResponse(revision=revision, bookmark=registry.Bookmark()))
            self.moved.notify_all()

    async def WatchModels(self, request: Any, context: Any) -> AsyncIterator[registry.WatchModelsResponse]:
        for index in itertools.count():
            async with self.moved:
                await self.moved.wait_for(partial(self._has, index))
            yield self.changes[index]

    def _has(self, index: int) -> bool:
        return index < len(self.changes)


def _platform(directory: Path) -> PlatformSettings:
    return PlatformSettings(data_directory=directory, kafka_bootstrap_servers="127.0.0.1:1")


@asynccontextmanager
async def _registry(directory: Path, stub: StubRegistry) -> AsyncIterator[RunningService]:
    async def assemble_stub(context: ServiceContext, settings: BaseSettings) -> ServiceParts:
        roles = RoleTable({"/mltrainer.registry.v1.RegistryService/WatchModels": READERS})
        add = [lambda server: add_RegistryServiceServicer_to_server(stub, server)]
        return ServiceParts(servicers=add, roles=roles, map_error=lambda error: None)

    async with start_service("registry", _platform(directory), BaseSettings(), assemble_stub) as running:
        yield running


@asynccontextmanager
async def _serving(directory: Path) -> AsyncIterator[RunningService]:
    async with start_service("serving", _platform(directory), ServingSettings(), assemble) as running:
        yield running


def _publish(directory: Path, number: int, intercept: float) -> ModelVersion:
    description = ModelDescription("ridge", ModelTarget("LOG_REALIZED_VARIANCE", 5), NAMES)
    model = LinearModel(description, np.zeros(2), np.ones(2), np.array([1.0, 2.0]), intercept)
    store = ContentStore(model_store_url(str(directory / "artifacts")))
    version = ModelVersion(name=f"models/vol5/versions/{number}", number=number)
    for path, content in model.to_artifact().files.items():
        version.manifest.files.add(path=path, sha256=store.put_bytes(content), size_bytes=len(content))
    return version


def _request(version: str = "") -> ModelInferRequest:
    request = ModelInferRequest(model_name="vol5", model_version=version, id="call-1")
    request.inputs.add(name="features", datatype="FP64", shape=[2, 2])
    request.raw_input_contents.append(np.array([[1.0, 1.0], [2.0, 0.5]]).tobytes())
    return request


def _values(response: ModelInferResponse) -> list[float]:
    return list(np.frombuffer(response.raw_output_contents[0]))


def _stub(running: RunningService) -> Any:
    return GRPCInferenceServiceStub(running.context.channel("serving"))


async def _until_answered(stub: Any, number: int) -> ModelInferResponse:
    async with asyncio.timeout(20):
        while True:
            try:
                response: ModelInferResponse = await stub.ModelInfer(_request())
            except RpcFailure as failure:
                assert failure.code in {StatusCode.NOT_FOUND, StatusCode.UNAVAILABLE}
            else:
                if response.model_version == str(number):
                    return response
            await asyncio.sleep(0.02)


async def test_the_champion_answers_and_a_move_swaps_it_without_a_failed_call(tmp_path: Path) -> None:
    registry_stub = StubRegistry()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_registry(tmp_path, registry_stub))
        running = await stack.enter_async_context(_serving(tmp_path))
        stub = _stub(running)
        await registry_stub.point(_publish(tmp_path, 1, 0.0), 1)
        first = await _until_answered(stub, 1)
        answers: list[ModelInferResponse] = []

        async def call_until(number: int) -> None:
            while not answers or answers[-1].model_version != str(number):
                answers.append(await stub.ModelInfer(_request()))

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(call_until(2))
            await registry_stub.point(_publish(tmp_path, 2, 10.0), 2)

    assert _values(first) == [3.0, 3.0]
    assert {(a.model_version, *_values(a)) for a in answers} <= {("1", 3.0, 3.0), ("2", 13.0, 13.0)}


async def test_a_restart_answers_while_the_registry_is_away(tmp_path: Path) -> None:
    registry_stub = StubRegistry()
    async with _registry(tmp_path, registry_stub), _serving(tmp_path) as running:
        await registry_stub.point(_publish(tmp_path, 1, 0.0), 1)
        await _until_answered(_stub(running), 1)

    async with _serving(tmp_path) as running:
        response = await _until_answered(_stub(running), 1)
        metadata = await _stub(running).ModelMetadata(ModelMetadataRequest(name="vol5"))
        deployment = await ServingServiceStub(running.context.channel("serving")).GetDeployment(
            GetDeploymentRequest(name="deployments/vol5")
        )

    assert _values(response) == [3.0, 3.0]
    assert [tensor.name for tensor in metadata.inputs] == ["features", "a", "b"]
    assert deployment.aliases[0].version == "models/vol5/versions/1"


async def test_altered_bytes_are_refused_and_the_old_version_stays(tmp_path: Path) -> None:
    registry_stub = StubRegistry()
    async with _registry(tmp_path, registry_stub), _serving(tmp_path) as running:
        await registry_stub.point(_publish(tmp_path, 1, 0.0), 1)
        await _until_answered(_stub(running), 1)
        tampered = _publish(tmp_path, 2, 10.0)
        for file in tampered.manifest.files:
            path = tmp_path / "artifacts" / "models" / "sha256" / file.sha256[:2] / file.sha256
            if file.path == "intercept.npy":
                path.chmod(0o644)
                path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        await registry_stub.point(tampered, 2)
        serving = ServingServiceStub(running.context.channel("serving"))
        async with asyncio.timeout(20):
            while True:
                deployment = await serving.GetDeployment(GetDeploymentRequest(name="deployments/vol5"))
                if deployment.aliases[0].error:
                    break
                await asyncio.sleep(0.02)
        response = await _stub(running).ModelInfer(_request())

    assert "altered" in deployment.aliases[0].error
    assert response.model_version == "1"


async def test_a_call_for_an_unknown_model_is_a_rich_error(tmp_path: Path) -> None:
    registry_stub = StubRegistry()
    async with _registry(tmp_path, registry_stub), _serving(tmp_path) as running:
        await registry_stub.point(_publish(tmp_path, 1, 0.0), 1)
        await _until_answered(_stub(running), 1)
        other = _request()
        other.model_name = "other"
        refusal = await _until_refused(_stub(running), other)

    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "MODEL_NOT_SERVED")


async def _until_refused(stub: Any, request: ModelInferRequest) -> RpcFailure:
    """Repeats a call until the service has heard everything from the registry and can tell."""
    async with asyncio.timeout(20):
        while True:
            with pytest.raises(RpcFailure) as caught:
                await stub.ModelInfer(request)
            if caught.value.code is not StatusCode.UNAVAILABLE:
                return caught.value
            await asyncio.sleep(0.02)


async def test_before_the_registry_was_reached_nobody_can_tell_what_is_served(tmp_path: Path) -> None:
    async with _serving(tmp_path) as running:
        with pytest.raises(RpcFailure) as caught:
            await _stub(running).ModelInfer(_request())

    assert (caught.value.code, caught.value.reason) == (StatusCode.UNAVAILABLE, "MODEL_NOT_READY")
