"""Starts the real service with SQLite and a broker in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from mltrainer.feature.v1.events_pb2 import ViewRevised
from mltrainer.scheduler.v1 import events_pb2 as events
from mltrainer.scheduler.v1 import resources_pb2 as resources
from mltrainer.scheduler.v1 import scheduler_service_pb2 as api
from mltrainer.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from mltrainer.trainer.v1 import events_pb2 as trainer
from mltrainer.types.v1.types_pb2 import TARGET_KIND_LOG_REALIZED_VARIANCE, VERDICT_EDGE
from mltrainer_common.errors import RpcFailure
from mltrainer_common.service import start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_messaging.envelope import OutgoingEvent
from mltrainer_messaging.topics import topic_of
from mltrainer_scheduler.bootstrap import assemble
from mltrainer_scheduler.settings import SchedulerSettings
from mltrainer_scheduler.wire.specification import from_spec, to_spec
from mltrainer_testkit.fake_broker import FakeBroker

TRACE = "0af7651916cd43dd8448eb211c80319c"
TERMINAL = (
    events.TrainingRejected,
    events.TrainingDeduplicated,
    events.TrainingCompleted,
    events.TrainingFailed,
)


def _request(request_id: str, seed: int = 1, **changes: Any) -> events.TrainingRequested:
    message = events.TrainingRequested(
        request_id=request_id,
        study="studies/vol5",
        symbols=["AAPL"],
        feature_views=["bars_daily"],
        owner="desk",
    )
    message.target.kind, message.target.horizon_bars = TARGET_KIND_LOG_REALIZED_VARIANCE, 5
    message.as_of.FromJsonString("2022-12-28T21:00:00Z")
    message.evaluation.first_test_time.FromJsonString("2015-01-01T00:00:00Z")
    message.search.models.append("ridge")
    message.search.seed = seed
    message.budget.cpu_seconds = 60.0
    for name, value in changes.items():
        setattr(message, name, value)
    return message


async def _announce(broker: FakeBroker, cpus: float = 2.0) -> None:
    release = trainer.TrainerReleased(
        trainer="trainers/default", code_digest="c", environment_digest="e", revision=1
    )
    release.catalogue_entries.add(
        id="ridge", family="linear", digest="d", target_kinds=[TARGET_KIND_LOG_REALIZED_VARIANCE]
    )
    await broker.send(release)
    await broker.send(ViewRevised(feature_view="bars_daily", version=1, definition_digest="v", revision=1))
    await broker.send(_node(1, cpus))


def _node(revision: int, cpus: float = 2.0) -> trainer.NodeReported:
    node = trainer.NodeReported(node="nodes/a", schedulable=True, revision=revision)
    node.capacity.cpus, node.capacity.memory_bytes = cpus, 8 << 30
    node.report_time.GetCurrentTime()
    return node


@asynccontextmanager
async def _living_node(broker: FakeBroker) -> AsyncIterator[None]:
    """Has the node say again and again that it is there."""

    async def report() -> None:
        for revision in count(2):
            await broker.send(_node(revision))
            await asyncio.sleep(0.1)

    reporting = asyncio.ensure_future(report())
    try:
        yield
    finally:
        reporting.cancel()


def _success(placed: events.TrainingPlaced, token: int = 0) -> trainer.AttemptSucceeded:
    message = trainer.AttemptSucceeded(
        training=placed.training,
        attempt=placed.attempt,
        allocation=placed.allocation.name,
        fencing_token=token or placed.allocation.fencing_token,
        manifest_digest="m",
        computation_key=placed.computation_key,
    )
    message.result.verdict = VERDICT_EDGE
    return message


Running = Callable[..., Any]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Runs the service on one data directory, as often as wanted."""

    @asynccontextmanager
    async def run(broker: FakeBroker, **settings: Any) -> AsyncIterator[Any]:
        platform = PlatformSettings(data_directory=tmp_path, kafka_bootstrap_servers="127.0.0.1:1")
        chosen = SchedulerSettings(lease_check_interval_s=0.05, **settings)
        async with start_service("scheduler", platform, chosen, partial(assemble, broker=broker)) as service:
            yield SchedulerServiceStub(service.context.channel("scheduler"))

    return run


async def test_a_training_goes_from_request_to_completion(running: Running) -> None:
    broker = FakeBroker()
    async with running(broker) as stub:
        await _announce(broker)
        await broker.send(_request("r1"), traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
        (placed,) = await broker.wait_for(events.TrainingPlaced)
        claims = [api.AllocationClaim(allocation=placed.allocation.name, fencing_token=1)]
        renewal = await stub.RenewAllocations(api.RenewAllocationsRequest(node="nodes/a", claims=claims))
        allocations = await stub.ListAllocations(api.ListAllocationsRequest())
        nodes = await stub.ListNodes(api.ListNodesRequest())
        explanation = await stub.ExplainTraining(api.ExplainTrainingRequest(name=placed.training))
        await broker.send(_success(placed))
        (completed,) = await broker.wait_for(events.TrainingCompleted)
        training = await stub.LookupTraining(api.LookupTrainingRequest(request_id="r1"))

    assert list(renewal.renewed_allocations) == [placed.allocation.name]
    assert [item.name for item in allocations.allocations] == [placed.allocation.name]
    assert (nodes.nodes[0].capacity.cpus, nodes.nodes[0].free.cpus) == (2.0, 1.0)
    assert [(share.node, share.workers) for share in placed.shares] == [("nodes/a", 1)]
    assert explanation.reason == "STARTING"
    assert (training.state, training.manifest_digest) == (training.STATE_COMPLETED, "m")
    assert (completed.verdict, completed.computation_key) == (VERDICT_EDGE, training.computation_key)
    started = broker.events(events.AllocationStarted)[0]
    ended = broker.events(events.AllocationEnded)[0]
    assert (started.owner, started.allocation.resources.cpus) == ("desk", 1.0)
    assert ended.allocation.end_reason == "SUCCEEDED"
    for event_type in (events.TrainingQueued, events.TrainingPlaced):
        for record in broker.records(topic_of(event_type).name):
            assert TRACE in (dict(record.headers)["traceparent"] or b"").decode()


@pytest.mark.parametrize("shuffle_seed", [1, 2, 3])
async def test_redelivered_and_reordered_events_take_effect_once(running: Running, shuffle_seed: int) -> None:
    broker = FakeBroker(redeliver=True, shuffle_seed=shuffle_seed)
    async with running(broker, view_grace_s=60.0):
        for index in range(10):
            await broker.send(_request(f"r{index}", seed=index // 2))
        await _announce(broker, cpus=16.0)
        placed = await broker.wait_for(events.TrainingPlaced, 5)
        for item in placed:
            await broker.send(_success(item, token=7))
            await broker.send(_success(item))
        await broker.wait_for(events.TrainingCompleted, 5)
        await broker.wait_for(events.TrainingDeduplicated, 5)
        await broker.settle()

    ends = [message.request_id for kind in TERMINAL for message in broker.events(kind)]
    assert sorted(ends) == sorted({f"r{index}" for index in range(10)})
    assert len(broker.events(events.TrainingPlaced)) == 5
    assert broker.dead_letters() == []


class DeafBroker(FakeBroker):
    """Delivers, but refuses what the scheduler publishes while told to."""

    is_deaf = True

    async def publish(self, published: Sequence[OutgoingEvent]) -> None:
        if self.is_deaf and any(item.topic == topic_of(events.TrainingQueued).name for item in published):
            raise BrokerUnavailableError("deaf")
        await super().publish(published)


async def test_events_committed_before_a_crash_are_published_after_it(running: Running) -> None:
    broker = DeafBroker()
    async with running(broker) as stub:
        await broker.send(_request("r1"))
        await _until(lambda: stub.LookupTraining(api.LookupTrainingRequest(request_id="r1")))
    published_before = broker.events(events.TrainingQueued)
    broker.is_deaf = False
    async with running(broker):
        await _announce(broker)
        await broker.wait_for(events.TrainingPlaced)
        await broker.settle()

    assert published_before == []
    reasons = [event.reason for event in broker.events(events.TrainingQueued)]
    assert reasons[0] == "NO_TRAINER_RELEASE"
    assert len(broker.events(events.TrainingPlaced)) == 1


async def test_wrong_and_unreadable_requests_are_answered_and_the_partition_moves_on(
    running: Running,
) -> None:
    broker = FakeBroker()
    async with running(broker):
        await _announce(broker)
        await broker.settle()
        wrong = _request("r1")
        del wrong.symbols[:]
        wrong.target.horizon_bars = 0
        wrong.search.models[0] = "oracle"
        wrong.budget.cpu_seconds = 0
        wrong.as_of.FromJsonString("2999-01-01T00:00:00Z")
        await broker.send(wrong)
        good = _request("r2")
        raw = OutgoingEvent(topic_of(good).name, b"studies/vol5", b"\xff\xff", ())
        await broker.publish([raw])
        await broker.send(good)
        (rejected,) = await broker.wait_for(events.TrainingRejected)
        (placed,) = await broker.wait_for(events.TrainingPlaced)

    fields = [violation.field for violation in rejected.violations]
    assert fields == ["target.horizon_bars", "symbols", "as_of", "budget"]
    assert (rejected.request_id, rejected.reason) == ("r1", "INVALID_REQUEST")
    assert placed.request_id == "r2"
    assert [letter.cause for letter in broker.dead_letters()] == ["HEADER_MISSING"]


async def test_a_lease_that_nobody_renews_lapses(running: Running) -> None:
    broker = FakeBroker()
    async with running(broker, lease_s=1.0):
        await _announce(broker)
        await broker.send(_request("r1"))
        async with _living_node(broker):
            first, second = (await broker.wait_for(events.TrainingPlaced, 2))[:2]
        (preempted, *_) = broker.events(events.TrainingPreempted)

    assert (preempted.reason, preempted.allocation) == ("LEASE_LAPSED", first.allocation.name)
    assert second.allocation.fencing_token == first.allocation.fencing_token + 1


async def test_lists_come_in_pages_and_refusals_are_rich(running: Running) -> None:
    broker = FakeBroker()
    async with running(broker) as stub:
        for index in range(5):
            await broker.send(_request(f"r{index}", seed=index))
        await broker.wait_for(events.TrainingQueued, 5)
        names: list[str] = []
        token = ""
        while not names or token:
            page = await stub.ListTrainings(api.ListTrainingsRequest(page_size=2, page_token=token))
            names += [training.name for training in page.trainings]
            token = page.next_page_token
        cancelled = await stub.CancelTraining(api.CancelTrainingRequest(name=names[0]))
        with pytest.raises(RpcFailure) as missing:
            await stub.GetTraining(api.GetTrainingRequest(name="trainings/none"))
        with pytest.raises(RpcFailure) as wrong:
            await stub.ListTrainings(api.ListTrainingsRequest(page_size=-1))

    assert len(set(names)) == 5
    assert names == sorted(names, reverse=True)
    assert cancelled.state == cancelled.STATE_CANCELLED
    assert (missing.value.code, missing.value.reason) == (StatusCode.NOT_FOUND, "TRAINING_NOT_FOUND")
    assert [item.field for item in wrong.value.field_violations] == ["page_size"]


async def test_a_preview_changes_nothing_and_queues_are_the_operators(running: Running) -> None:
    broker = FakeBroker()
    async with running(broker) as stub:
        await _announce(broker)
        asked = api.PreviewTrainingRequest(spec=_specification(_request("r1", queue="desk")))
        preview = await _until(lambda: _placeable(stub, asked))
        queues = await stub.ListQueues(api.ListQueuesRequest())
        trainings = await stub.ListTrainings(api.ListTrainingsRequest())
        with pytest.raises(RpcFailure) as refused:
            await stub.SetQueues(api.SetQueuesRequest())

    assert [share.node for share in preview.shares] == ["nodes/a"]
    assert not preview.HasField("price_usd_per_hour")
    assert (list(queues.queues), queues.etag, list(trainings.trainings)) == ([], "0", [])
    assert refused.value.code is StatusCode.PERMISSION_DENIED


def _specification(request: events.TrainingRequested) -> resources.TrainingSpec:
    return from_spec(to_spec(request))


async def _placeable(stub: Any, asked: api.PreviewTrainingRequest) -> Any:
    preview = await stub.PreviewTraining(asked)
    if not preview.shares:
        raise RpcFailure(StatusCode.UNAVAILABLE, preview.message)
    return preview


async def _until(call: Callable[[], Any]) -> Any:
    async with asyncio.timeout(10):
        while True:
            try:
                return await call()
            except RpcFailure:
                await asyncio.sleep(0.02)
