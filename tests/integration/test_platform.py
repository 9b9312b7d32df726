"""The real stack without faults: from bars to predictions, what it refuses, and what a restart keeps."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from mltrainer.registry.v1.registry_service_pb2 import ListModelsRequest, ListModelVersionsRequest
from mltrainer.registry.v1.resources_pb2 import ModelVersion
from mltrainer.scheduler.v1.events_pb2 import TrainingRejected, TrainingRequested
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.serving.v1.serving_service_pb2 import GetDeploymentRequest
from mltrainer.types.v1.types_pb2 import Verdict
from mltrainer_cli.demo.traces import services_of, spans
from mltrainer_cli.event_stream import event_types, read_dead_letters, read_records
from mltrainer_common.ids import new_id
from mltrainer_common.traces import tracer_provider
from mltrainer_messaging.envelope import OutgoingEvent, decode_event
from mltrainer_messaging.topics import topic_of
from mltrainer_sdk import Client, Predictions, RpcFailure
from mltrainer_testkit.history_reader import list_trainings
from mltrainer_testkit.stack import (
    SYMBOLS,
    RunningStack,
    cheap_request,
    load_bars,
    publish_patiently,
    wait_for_rows,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Tracer, format_trace_id

pytestmark = pytest.mark.integration

MODEL = "vol5"
REQUESTED = topic_of(TrainingRequested)
SERVICES_OF_A_TRAINING = {"test", "feature", "scheduler", "trainer", "registry", "serving"}
Change = Callable[[TrainingRequested], None]


@contextmanager
def tracing(stack: RunningStack) -> Iterator[Tracer]:
    file = stack.data.path / "traces" / "test.jsonl"
    provider = tracer_provider(Resource({"service.name": "test"}), 1.0, file=file, otlp_endpoint=None)
    try:
        yield provider.get_tracer("mltrainer")
    finally:
        provider.shutdown()


@pytest.fixture
async def client(stack: RunningStack) -> AsyncIterator[Client]:
    with tracing(stack) as tracer:
        async with stack.client(tracer) as connected:
            yield connected


def volatility_request() -> TrainingRequested:
    """A small search with a real answer: on these bars ridge beats its baselines."""
    asked = cheap_request(f"vol5-{new_id()}", seed=7, study=MODEL, alias="champion")
    asked.feature_views.append("market_returns")
    asked.search.models[:] = ["ridge"]
    asked.search.max_trials = 4
    return asked


async def test_a_training_becomes_a_served_prediction_under_one_trace(
    stack: RunningStack, client: Client
) -> None:
    await wait_for_rows(client, await load_bars(stack, client))

    with client.connection.tracer.start_as_current_span("ask") as span:
        trace_id = format_trace_id(span.get_span_context().trace_id)
        asked = volatility_request()
        await publish_patiently(client, asked, new_id())
    training = await client.wait_for_training(asked.request_id, timeout_s=120)
    (version,) = await versions(client)
    predictions = await predict_when_served(client, version)

    assert (training.state, training.attempt_count) == (Training.STATE_COMPLETED, 1)
    assert (version.training, version.manifest.digest) == (training.name, training.manifest_digest)
    assert version.result.verdict == Verdict.VERDICT_EDGE
    assert (predictions.version, predictions.alias) == (1, "champion")
    assert np.isfinite(predictions.values).all()
    assert np.ptp(predictions.values) > 0
    traced = await services_in_trace(stack, trace_id)
    assert traced >= SERVICES_OF_A_TRAINING
    names = {one.name for one in spans(stack.data.path / "traces") if one.trace_id == trace_id}
    assert "load_version" in names


def leave_out_symbols(asked: TrainingRequested) -> None:
    del asked.symbols[:]


def ask_for_tomorrow(asked: TrainingRequested) -> None:
    asked.as_of.FromDatetime(datetime.now(UTC) + timedelta(days=1))


def name_an_unknown_model(asked: TrainingRequested) -> None:
    asked.search.models[:] = ["persistence", "oracle"]


def set_horizon(bars: int) -> Change:
    def change(asked: TrainingRequested) -> None:
        asked.target.horizon_bars = bars

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param(name_an_unknown_model, "search.models[1]", id="an unknown model"),
        pytest.param(leave_out_symbols, "symbols", id="an empty universe"),
        pytest.param(set_horizon(0), "target.horizon_bars", id="a horizon of nothing"),
        pytest.param(set_horizon(-5), "target.horizon_bars", id="a horizon in the past"),
        pytest.param(ask_for_tomorrow, "as_of", id="knowledge of the future"),
        pytest.param(lambda asked: asked.ClearField("budget"), "budget", id="a budget of nothing"),
    ],
)
async def test_a_request_that_cannot_be_done_is_rejected_with_its_fields(
    stack: RunningStack, client: Client, change: Change, field: str
) -> None:
    asked = cheap_request(f"wrong-{new_id()}", seed=1, study="wrong")
    change(asked)

    await publish_patiently(client, asked, new_id())
    training = await client.wait_for_training(asked.request_id, timeout_s=60)

    assert training.state == Training.STATE_REJECTED
    assert [one.field for one in training.violations] == [field]
    event = await rejection(stack, asked.request_id)
    assert (event.training, list(event.violations)) == (training.name, list(training.violations))


@pytest.mark.parametrize(
    ("cause", "headers", "value"),
    [
        pytest.param("UNDECODABLE", {}, b"\xff\xfe not a message", id="undecodable"),
        pytest.param("UNKNOWN_TYPE", {"ce_type": b"mltrainer.scheduler.v2.Unheard"}, b"", id="unknown type"),
        pytest.param("TOO_LARGE", {}, b"x" * (2 << 20), id="oversized"),
        pytest.param("HEADER_NOT_UTF8", {"ce_source": b"\xff"}, b"", id="a header of other bytes"),
    ],
)
async def test_an_unreadable_event_becomes_a_dead_letter_and_its_partition_moves_on(
    stack: RunningStack, client: Client, cause: str, headers: dict[str, bytes], value: bytes
) -> None:
    after = cheap_request(f"after-{new_id()}", seed=1, study="wrong")
    after.target.horizon_bars = 0
    await client.connection.broker.ensure_topics([REQUESTED])
    event = OutgoingEvent(
        REQUESTED.name, after.study.encode(), value, tuple((good_headers() | headers).items())
    )

    await client.connection.broker.publisher.publish([event])
    await publish_patiently(client, after, new_id())
    training = await client.wait_for_training(after.request_id, timeout_s=60)

    assert training.state == Training.STATE_REJECTED
    stored = await read_dead_letters(servers_of(stack), topic=REQUESTED.name, cause=cause)
    assert [(one.letter.cause, one.letter.consumer) for one in stored] == [(cause, "mltrainer-scheduler")]
    assert stored[0].letter.original() == event


async def test_down_leaves_nothing_and_up_shows_the_same_again(stack: RunningStack, client: Client) -> None:
    trainings, (version,) = await list_trainings(client), await versions(client)
    models = await client.registry.ListModels(ListModelsRequest())

    await asyncio.to_thread(stack.stop)
    left = stack.processes()
    await asyncio.to_thread(stack.start)

    assert left == []
    async with stack.client() as again:
        assert await trainings_when_answered(again) == trainings
        assert await versions(again) == [version]
        assert await again.registry.ListModels(ListModelsRequest()) == models
        assert (await predict_when_served(again, version)).version == version.number


async def trainings_when_answered(client: Client) -> list[Training]:
    """Returns the trainings; connections that this process lost during the pause try again in time."""
    async with asyncio.timeout(30):
        while True:
            with suppress(RpcFailure):
                return await list_trainings(client)
            await asyncio.sleep(0.2)


async def versions(client: Client) -> list[ModelVersion]:
    """Returns the versions, as soon as there is one."""
    request = ListModelVersionsRequest(parent=f"models/{MODEL}")
    async with asyncio.timeout(30):
        while True:
            with suppress(RpcFailure):
                page = await client.registry.ListModelVersions(request)
                if page.model_versions:
                    return list(page.model_versions)
            await asyncio.sleep(0.2)


async def predict_when_served(client: Client, version: ModelVersion) -> Predictions:
    """Reads the newest features and predicts, once the version answers."""
    request = GetDeploymentRequest(name=f"deployments/{MODEL}")
    async with asyncio.timeout(30):
        while True:
            try:
                deployment = await client.serving.GetDeployment(request)
                references = await client.feature_references(deployment.feature_names)
                vectors = await client.get_features(SYMBOLS, references)
                predictions = await client.predict(MODEL, vectors.values, symbols=SYMBOLS)
            except RpcFailure:
                predictions = None
            if predictions is not None and predictions.version == version.number:
                return predictions
            await asyncio.sleep(0.2)


async def services_in_trace(stack: RunningStack, trace_id: str) -> set[str]:
    """Waits for the last spans: processes write them a moment after they end."""
    traced: set[str] = set()
    with_patience = 50
    while with_patience and not traced >= SERVICES_OF_A_TRAINING:
        traced = set(services_of(stack.data.path / "traces", trace_id))
        with_patience -= 1
        await asyncio.sleep(0.2)
    return traced


async def rejection(stack: RunningStack, request_id: str) -> TrainingRejected:
    types, pattern = event_types(), f"^{topic_of(TrainingRejected).name}$"
    async with asyncio.timeout(20):
        while True:
            async for record in read_records(servers_of(stack), pattern, from_beginning=True, follow=False):
                event = decode_event(record, types).message
                if isinstance(event, TrainingRejected) and event.request_id == request_id:
                    return event


def servers_of(stack: RunningStack) -> str:
    return stack.record().kafka_bootstrap_servers


def good_headers() -> dict[str, bytes]:
    return {
        "ce_specversion": b"1.0",
        "ce_id": new_id().encode(),
        "ce_source": b"/mltrainer/test",
        "ce_type": TrainingRequested.DESCRIPTOR.full_name.encode(),
        "content-type": b"application/protobuf",
    }
