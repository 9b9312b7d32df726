"""Starts each service without the others and without a broker: it serves what it can, and says so."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from mltrainer.chaos.v1.chaos_service_pb2 import ListChaosRunsRequest
from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2 import GetBillRequest
from mltrainer.experiment.v1.experiment_service_pb2 import ListExperimentsRequest
from mltrainer.feature.v1.feature_service_pb2 import ListFeatureViewsRequest
from mltrainer.monitor.v1.monitor_service_pb2 import ListServiceLevelObjectivesRequest
from mltrainer.registry.v1.registry_service_pb2 import ListModelsRequest
from mltrainer.scheduler.v1.scheduler_service_pb2 import ListNodesRequest
from mltrainer.serving.v1.serving_service_pb2 import ListDeploymentsRequest
from mltrainer.trainer.v1.trainer_service_pb2 import ListCatalogueEntriesRequest
from mltrainer_cli.stack import SERVICES, package_of
from mltrainer_common.discovery import read_endpoints
from mltrainer_common.settings import PlatformSettings
from mltrainer_sdk import Client, Role, RpcFailure

pytestmark = pytest.mark.integration

NO_BROKER = "127.0.0.1:9"
_START_S, _STOP_S = 60.0, 20.0

ANSWERS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "registry": lambda client: client.registry.ListModels(ListModelsRequest()),
    "feature": lambda client: client.feature.ListFeatureViews(ListFeatureViewsRequest()),
    "scheduler": lambda client: client.scheduler.ListNodes(ListNodesRequest()),
    "trainer": lambda client: client.trainer.ListCatalogueEntries(ListCatalogueEntriesRequest()),
    "serving": lambda client: client.serving.ListDeployments(ListDeploymentsRequest()),
    "experiment": lambda client: client.experiment.ListExperiments(ListExperimentsRequest()),
    "monitor": lambda client: client.monitor.ListServiceLevelObjectives(ListServiceLevelObjectivesRequest()),
    "cost-optimizer": lambda client: client.cost_optimizer.GetBill(GetBillRequest()),
    "chaos": lambda client: client.chaos.ListChaosRuns(ListChaosRunsRequest()),
}


@asynccontextmanager
async def alone(slug: str, directory: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs one service; what it prints goes to a file of the directory."""
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(directory),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": NO_BROKER,
    }
    with (directory / "output.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", package_of(slug)), env=environment, stdout=output, stderr=output
        )
    try:
        await _until_serving(slug, directory, process)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_serving(slug: str, directory: Path, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_START_S):
        while await _health(slug, directory, process.pid) != HealthCheckResponse.SERVING:
            assert process.returncode is None, (directory / "output.log").read_text()
            await asyncio.sleep(0.1)


async def _health(slug: str, directory: Path, pid: int) -> int:
    endpoint = read_endpoints(directory / "endpoints.json").get(slug, {}).get("0")
    if endpoint is None or endpoint.pid != pid:
        return HealthCheckResponse.UNKNOWN
    async with grpc.aio.insecure_channel(endpoint.address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            answer = await check(HealthCheckRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return HealthCheckResponse.UNKNOWN
    return int(answer.status)


@asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[Client]:
    platform = PlatformSettings(data_directory=directory, kafka_bootstrap_servers=NO_BROKER)
    async with Client.connect(roles=[Role.TRADER, Role.OPERATOR], platform=platform) as client:
        yield client


@pytest.mark.parametrize("slug", SERVICES)
async def test_a_service_alone_is_ready_answers_and_ends_when_asked(slug: str, tmp_path: Path) -> None:
    async with alone(slug, tmp_path) as process:
        async with connected(tmp_path) as client:
            await ANSWERS[slug](client)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), _STOP_S)

    assert code == 0


async def test_serving_alone_says_unavailable_for_models_it_cannot_know(tmp_path: Path) -> None:
    async with alone("serving", tmp_path), connected(tmp_path) as client:
        with pytest.raises(RpcFailure) as unknown:
            await client.predict("vol5", [[1.0]])
        with pytest.raises(RpcFailure) as absent:
            await client.registry.ListModels(ListModelsRequest())

    assert unknown.value.code is grpc.StatusCode.UNAVAILABLE
    assert (absent.value.code, absent.value.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_ENDPOINTS")
