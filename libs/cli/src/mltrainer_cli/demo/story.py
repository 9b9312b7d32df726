"""Tells the story of the platform, step by step, on a stack of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mltrainer.feature.v1.feature_service_pb2 import GetBarImportRequest, ImportBarsRequest
from mltrainer.feature.v1.resources_pb2 import BarImport
from mltrainer.types.v1.types_pb2 import TargetKind
from mltrainer_common.clock import parse_market_clock
from mltrainer_common.content_store import ContentStore
from mltrainer_common.settings import PlatformSettings
from mltrainer_common.traces import tracer_provider
from mltrainer_sdk import Client, Role
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import format_trace_id

from mltrainer_cli import stack_control
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.demo import live, traces, training, watching
from mltrainer_cli.demo import scene as stage
from mltrainer_cli.demo.facts import Facts
from mltrainer_cli.demo.market import BarFeed, load_market, replay_clock
from mltrainer_cli.demo.narrator import Narrator, Step
from mltrainer_cli.demo.predicting import predict_repeatedly, wait_until_served
from mltrainer_cli.demo.scene import Scene
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.record import SupervisorRecord
from mltrainer_cli.stack import StackOptions

_ROLES = (Role.TRADER, Role.PRODUCER, Role.OPERATOR)
_VOLATILITY_MODELS = ("ridge", "elastic-net")
_RETURNS_MODELS = ("ridge",)
_PREDICT_CALLS = 2_000
_JUDGED_DAYS = 22
"""An experiment says nothing before it has judged 21 days."""
_POLL_S = 0.2
_FLUSH_S = 1.0
"""Spans leave a process within a third of a second; this is their time to arrive."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a user may choose.

    Attributes:
        trace_file: Where to write all spans as OTLP JSON lines; nowhere where None.
    """

    data: DataDirectory
    trace_file: Path | None = None


async def tell(options: DemoOptions, narrate: Narrator) -> Facts:
    """Runs the demonstration and returns what it found; leaves the stack up."""
    start_s = time.monotonic()
    clock = replay_clock(stage.REPLAY_START, stage.DAYS_PER_SECOND, datetime.now(UTC))
    with narrate.step("Start the broker and the services") as step:
        await asyncio.to_thread(_start_stack, options.data, clock, step)
    async with _scene(options.data, clock) as scene:
        await _play(scene, narrate)
        await asyncio.sleep(_FLUSH_S)
        facts = scene.facts
        facts.trace = traces.services_of(options.data.path / "traces", facts.trace_id)
    if options.trace_file:
        traces.merge(options.data.path / "traces", options.trace_file)
    facts.data_directory = str(options.data.path)
    facts.elapsed_s = time.monotonic() - start_s
    return facts


def _start_stack(data: DataDirectory, clock: str, step: Step) -> None:
    def show(record: SupervisorRecord) -> None:
        ready = [process for process in record.processes if process.state == "ready"]
        step.update(len(ready) / max(len(record.processes), 1), f"{len(ready)} of {len(record.processes)}")

    stack_control.start(data, StackOptions(environment={"MLTRAINER_MARKET_CLOCK": clock}), on_change=show)


@asynccontextmanager
async def _scene(data: DataDirectory, clock: str) -> AsyncIterator[Scene]:
    record = stack_control.require_running(data)
    platform = PlatformSettings(
        data_directory=data.path, kafka_bootstrap_servers=record.kafka_bootstrap_servers, market_clock=clock
    )
    provider = tracer_provider(
        Resource({"service.name": "demo", "service.namespace": "mltrainer"}),
        1.0,
        file=data.path / "traces" / "demo.jsonl",
        otlp_endpoint=None,
    )
    async with AsyncExitStack() as stack:
        stack.callback(provider.shutdown)
        tracer = provider.get_tracer("mltrainer")
        client = await stack.enter_async_context(
            Client.connect(subject=stage.OWNER, roles=_ROLES, tracer=tracer, platform=platform)
        )
        market = load_market(stage.FIRST_DAY, stage.REPLAY_START)
        market_clock = parse_market_clock(clock)
        yield Scene(data, client, market, market_clock, BarFeed(client, market, market_clock), tracer)


async def _play(scene: Scene, narrate: Narrator) -> None:
    with narrate.step("Load seventeen years of daily bars") as step:
        await _load_history(scene, step)
    feed = asyncio.create_task(scene.feed.run())
    try:
        await _train_and_serve(scene, narrate)
    finally:
        feed.cancel()
        with suppress(asyncio.CancelledError):
            await feed


async def _load_history(scene: Scene, step: Step) -> None:
    store = ContentStore(str(scene.data.path / "artifacts"))
    digest = await asyncio.to_thread(lambda: store.put_bytes(scene.market.history_csv()))
    imported = await scene.client.feature.ImportBars(ImportBarsRequest(sha256=digest))
    while imported.state == BarImport.STATE_RUNNING:
        await asyncio.sleep(_POLL_S)
        imported = await scene.client.feature.GetBarImport(GetBarImportRequest(name=imported.name))
        step.update(imported.accepted_count / len(scene.market.history), f"{imported.accepted_count} bars")
    if imported.state != BarImport.STATE_SUCCEEDED:
        raise CliError(f"The bars could not be loaded: {imported.error}.", ExitCode.FAILED)
    scene.facts.market = {
        "symbols": len(scene.market.symbols),
        "bars_loaded": imported.accepted_count,
        "bars_refused": imported.refused_count,
    }


async def _train_and_serve(scene: Scene, narrate: Narrator) -> None:
    champion = await _train_champion(scene, narrate)
    await _train_others(scene, narrate)
    with narrate.step("Register the versions and serve them"):
        scene.facts.version = await training.version_facts(scene, stage.VOLATILITY_STUDY, champion)
        model = stage.VOLATILITY_STUDY
        deployment = await wait_until_served(scene, model, scene.facts.version.name)
        await wait_until_served(scene, model, f"models/{model}/versions/2", "challenger")
    references = await scene.client.feature_references(deployment.feature_names)
    await _trade(scene, narrate, references)


async def _train_champion(scene: Scene, narrate: Narrator) -> str:
    asked = training.request(
        scene,
        stage.VOLATILITY_STUDY,
        TargetKind.TARGET_KIND_LOG_REALIZED_VARIANCE,
        _VOLATILITY_MODELS,
        propose_alias="champion",
    )
    span_of_demo = scene.tracer.start_as_current_span("demo")
    with narrate.step("Train five-day volatility, walk forward") as step, span_of_demo as span:
        scene.facts.trace_id = format_trace_id(span.get_span_context().trace_id)
        trained, attempt = await training.train(scene, asked, step)
    scene.facts.volatility = training.volatility_facts(attempt.result)
    return trained.name


async def _train_others(scene: Scene, narrate: Narrator) -> None:
    """Trains a challenger and the hopeless case side by side, as far as the machine has room."""
    challenger = training.request(
        scene,
        stage.VOLATILITY_STUDY,
        TargetKind.TARGET_KIND_LOG_REALIZED_VARIANCE,
        [await training.challenger_model(scene)],
        propose_alias="challenger",
    )
    returns = training.request(
        scene, stage.RETURNS_STUDY, TargetKind.TARGET_KIND_EXCESS_RETURN, _RETURNS_MODELS
    )
    with (
        narrate.step("Train a challenger, with trees") as first,
        narrate.step("Train five-day returns, the same way") as second,
    ):
        async with asyncio.TaskGroup() as group:
            group.create_task(training.train(scene, challenger, first))
            hopeless = group.create_task(training.train(scene, returns, second))
    scene.facts.returns = training.returns_facts(hopeless.result()[1].result)


async def _trade(scene: Scene, narrate: Narrator, references: list[str]) -> None:
    """Trades live in the background while predictions are timed and serving is killed."""
    await live.start_experiment(scene.client)
    trading = live.LiveTrading(scene, references)
    background = asyncio.create_task(trading.run())
    try:
        with narrate.step("Predict with live features") as step:
            scene.facts.predict = await predict_repeatedly(
                scene, stage.VOLATILITY_STUDY, references, _PREDICT_CALLS, step
            )
        with narrate.step("Split live days between champion and challenger") as step:
            await watching.wait_for_outcomes(trading, _JUDGED_DAYS, step)
        with narrate.step("Kill serving under a steady-state hypothesis") as step:
            vectors = await scene.client.get_features(scene.market.symbols, references)
            scene.facts.chaos = await watching.chaos_facts(scene, vectors, step)
    finally:
        background.cancel()
        with suppress(asyncio.CancelledError):
            await background
    with narrate.step("Read experiment, drift, objectives and bill"):
        scene.facts.experiment = await watching.experiment_facts(scene, trading)
        scene.facts.drift = await watching.drift_facts(scene)
        scene.facts.slos = await watching.slo_facts(scene)
        scene.facts.bill = await watching.bill_facts(scene)
