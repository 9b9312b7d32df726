"""Fills a stack of its own with little data and starts each measured service as a process."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from inference.open_inference_pb2 import ModelInferRequest, ModelMetadataRequest
from mltrainer.experiment.v1.experiment_service_pb2 import (
    AssignUnitRequest,
    CreateExperimentRequest,
    StartExperimentRequest,
)
from mltrainer.experiment.v1.resources_pb2 import Experiment
from mltrainer.feature.v1.feature_service_pb2 import GetBarImportRequest, ImportBarsRequest
from mltrainer.feature.v1.resources_pb2 import BarImport
from mltrainer.registry.v1.registry_service_pb2 import GetAliasRequest
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.types.v1.types_pb2 import TargetKind
from mltrainer_cli import stack_control
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.demo.market import Market, close_time, load_market, replay_clock
from mltrainer_cli.stack import StackOptions, installed_services
from mltrainer_common.content_store import ContentStore
from mltrainer_common.discovery import read_endpoints
from mltrainer_sdk import Client, Role, RpcFailure
from mltrainer_sdk import features as feature_requests
from mltrainer_sdk import predictions as prediction_requests

SERVICE = Path(__file__).with_name("measured_service.py")
STUDY, ALIAS = "bench", "bench"
FIRST_DAY, LAST_DAY, FIRST_TEST_DAY = date(2016, 1, 1), date(2021, 12, 31), date(2021, 1, 1)
VIEWS = ("market_returns", "market_volatility", "market_momentum", "market_cross_section")
FILLING = ("registry", "feature", "scheduler", "trainer", "serving", "experiment")
TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Target:
    """One measured call: who answers it, and the bytes of the request."""

    title: str
    slug: str
    method: str
    request: bytes


@dataclass(frozen=True)
class Ports:
    guarded: str
    bare: str


def environment(trace_ratio: float) -> dict[str, str]:
    clock = replay_clock(close_time(LAST_DAY).replace(hour=22), 1 / 86_400, datetime.now(UTC))
    return {"MLTRAINER_TRACE_RATIO": str(trace_ratio), "MLTRAINER_MARKET_CLOCK": clock}


async def fill(data: DataDirectory, settings: dict[str, str]) -> list[Target]:
    """Loads bars, trains a small model, has it served under an alias, and writes down the calls."""
    filling = tuple(slug for slug in FILLING if slug in installed_services())
    await asyncio.to_thread(
        stack_control.start, data, StackOptions(services=filling, environment=settings), timeout_s=TIMEOUT_S
    )
    try:
        async with Client.connect(
            data.path, subject="bench", roles=(Role.TRADER, Role.PRODUCER, Role.OPERATOR)
        ) as client:
            market = load_market(FIRST_DAY, close_time(LAST_DAY))
            await import_bars(client, data, market)
            await train(client, market)
            return await targets(client, market.symbols[0], await served_features(client))
    finally:
        await asyncio.to_thread(stack_control.stop, data)


async def import_bars(client: Client, data: DataDirectory, market: Market) -> None:
    digest = ContentStore(str(data.path / "artifacts")).put_bytes(market.history_csv())
    imported = await client.feature.ImportBars(ImportBarsRequest(sha256=digest))
    while imported.state == BarImport.STATE_RUNNING:
        await asyncio.sleep(0.2)
        imported = await client.feature.GetBarImport(GetBarImportRequest(name=imported.name))
    assert imported.state == BarImport.STATE_SUCCEEDED, imported.error


async def train(client: Client, market: Market) -> None:
    asked = TrainingRequested(
        study=f"studies/{STUDY}",
        symbols=market.symbols,
        feature_views=VIEWS,
        owner="bench",
        propose_alias=ALIAS,
    )
    asked.target.kind = TargetKind.TARGET_KIND_LOG_REALIZED_VARIANCE
    asked.target.horizon_bars = 5
    asked.as_of.FromDatetime(close_time(LAST_DAY))
    asked.evaluation.first_test_time.FromDatetime(datetime.combine(FIRST_TEST_DAY, datetime.min.time(), UTC))
    asked.evaluation.refit_interval_bars = 252
    asked.search.models.append("ridge")
    asked.search.max_trials = 1
    asked.search.seed = 7
    asked.budget.cpu_seconds = 300
    asked.resources.cpus = 1
    training = await client.wait_for_training(await client.request_training(asked), TIMEOUT_S)
    assert training.state == Training.STATE_COMPLETED, training


async def served_features(client: Client) -> list[str]:
    """Waits until the version is served, and returns its features in order."""
    until_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until_s:
        try:
            model = await client.inference.ModelMetadata(ModelMetadataRequest(name=STUDY, version=ALIAS))
        except RpcFailure:
            await asyncio.sleep(0.2)
        else:
            # The first is the matrix of all of them.
            return [tensor.name for tensor in model.inputs[1:]]
    raise TimeoutError(f"{STUDY} is not served as {ALIAS}")


async def targets(client: Client, symbol: str, feature_names: list[str]) -> list[Target]:
    references = await client.feature_references(feature_names)
    vectors = await client.get_features([symbol], references)
    assert vectors.is_complete
    predict: ModelInferRequest = prediction_requests.to_request(
        STUDY, vectors.values, version=ALIAS, symbols=[symbol], unit=f"bench/{symbol}"
    )
    alias = GetAliasRequest(name=f"models/{STUDY}/aliases/{ALIAS}")
    read = feature_requests.to_request([symbol], references)
    assignment = [await assignment_target(client, symbol)] if "experiment" in installed_services() else []
    registry, inference = "/mltrainer.registry.v1.RegistryService", "/inference.GRPCInferenceService"
    return [
        Target("alias lookup", "registry", f"{registry}/GetAlias", alias.SerializeToString()),
        Target("feature read", "feature", feature_requests.METHOD, read.SerializeToString()),
        *assignment,
        Target("predict", "serving", f"{inference}/ModelInfer", predict.SerializeToString()),
    ]


async def assignment_target(client: Client, symbol: str) -> Target:
    experiment = Experiment(model=f"models/{STUDY}", traffic=1.0, metric="squared_error")
    for variant in ("control", "challenger"):
        experiment.variants.add(variant=variant, alias=ALIAS, weight=1.0)
    created = await client.experiment.CreateExperiment(
        CreateExperimentRequest(experiment_id=STUDY, experiment=experiment, request_id=STUDY)
    )
    await client.experiment.StartExperiment(StartExperimentRequest(name=created.name))
    request = AssignUnitRequest(experiment=created.name, unit=f"bench/{symbol}/{LAST_DAY}")
    method = "/mltrainer.experiment.v1.ExperimentService/AssignUnit"
    return Target("assignment", "experiment", method, request.SerializeToString())


@contextmanager
def broker(data: DataDirectory) -> Iterator[str]:
    """Keeps the stack's Kafka running alone."""
    record = stack_control.start(data, StackOptions(services=()))
    try:
        yield record.kafka_bootstrap_servers
    finally:
        stack_control.stop(data)


@asynccontextmanager
async def running(
    slug: str, data: DataDirectory, kafka: str, settings: dict[str, str]
) -> AsyncIterator[Ports]:
    """Runs a measured service and yields its two addresses."""
    port_file = data.path / f"{slug}.bare"
    port_file.unlink(missing_ok=True)
    own = {
        "MLTRAINER_DATA_DIRECTORY": str(data.path),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MLTRAINER_TOKEN_KEY_FILE": str(data.token_key_file),
    }
    with (data.logs / f"{slug}-measured.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop yet
            [sys.executable, "-P", str(SERVICE), slug, str(port_file)],
            env={**os.environ, **settings, **own},
            stdout=log,
            stderr=log,
        )
    try:
        await until(port_file.exists, process)
        yield Ports(
            read_endpoints(data.endpoints_file)[slug]["0"].address, f"127.0.0.1:{port_file.read_text()}"
        )
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def until(condition: Callable[[], bool], process: "subprocess.Popen[Any]") -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > until_s:
            raise RuntimeError("a measured service did not start: see its log")
        await asyncio.sleep(0.05)


def missing() -> dict[str, str]:
    """Names the calls that cannot be measured here, with the reason."""
    if "experiment" in installed_services():
        return {}
    return {"assignment": "the experiment service is not installed"}
