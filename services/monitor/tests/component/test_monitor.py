"""Starts the real service with SQLite and a broker in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from mltrainer.monitor.v1 import monitor_service_pb2 as api
from mltrainer.monitor.v1.events_pb2 import BudgetBurned, DriftDetected
from mltrainer.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from mltrainer_common.discovery import Endpoint, StaticPublisher
from mltrainer_common.errors import RpcFailure
from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_messaging.envelope import OutgoingEvent
from mltrainer_messaging.topics import topic_of
from mltrainer_testkit.fake_broker import FakeBroker

MODEL = "models/vol5"


async def _until(call: Callable[[], Awaitable[Any]], is_done: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(20):
        while True:
            try:
                answer = await call()
            except RpcFailure as failure:
                if failure.code is not StatusCode.NOT_FOUND:
                    raise
            else:
                if is_done(answer):
                    return answer
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("shuffle_seed", [1, 2])
async def test_drift_and_scores_whatever_is_redelivered_and_reordered(
    running: Any, make: Any, tmp_path: Path, shuffle_seed: int
) -> None:
    broker = FakeBroker(redeliver=True, shuffle_seed=shuffle_seed)
    for event in make.days(60, shift=3.0):
        await broker.send(event)
    for day in range(50):
        await broker.send(make.label(day, "S0", 3.0))
    await broker.send(make.version(1, make.stored_reference(tmp_path)))
    async with running(broker) as service:
        stub = MonitorServiceStub(service.context.channel("monitor"))
        request = api.GetDriftReportRequest(model=MODEL)
        report = await _until(lambda: stub.GetDriftReport(request), lambda found: found.window_count == 120)
        await broker.settle()
        scores = await stub.ListModelScores(api.ListModelScoresRequest(parent=MODEL))

    [score] = scores.model_scores
    [detected] = broker.events(DriftDetected)
    assert (report.conclusion, report.drifted, report.reference_count) == ("DRIFTED", True, 20_000)
    assert list(detected.features) == [one.feature for one in report.features if one.drifted]
    assert (score.prediction_count, score.labelled_count, score.label_coverage) == (120, 50, 0.5)
    assert broker.dead_letters() == []


class DeafBroker(FakeBroker):
    """Delivers, but refuses drift events while told to."""

    is_deaf = True

    async def publish(self, published: Sequence[OutgoingEvent]) -> None:
        if self.is_deaf and any(item.topic == topic_of(DriftDetected).name for item in published):
            raise BrokerUnavailableError("deaf")
        await super().publish(published)


async def test_drift_committed_before_a_crash_is_published_once_after_it(
    running: Any, make: Any, tmp_path: Path
) -> None:
    broker = DeafBroker()
    await broker.send(make.version(1, make.stored_reference(tmp_path)))
    for event in make.days(60, shift=3.0):
        await broker.send(event)
    async with running(broker) as service:
        stub = MonitorServiceStub(service.context.channel("monitor"))
        request = api.GetDriftReportRequest(model=MODEL)
        await _until(lambda: stub.GetDriftReport(request), lambda found: found.window_count == 120)
    published_before = broker.events(DriftDetected)
    broker.is_deaf = False
    async with running(broker):
        await broker.wait_for(DriftDetected)
        await broker.settle()

    assert published_before == []
    assert len(broker.events(DriftDetected)) == 1


async def test_objectives_count_real_calls_and_a_dead_service_burns_its_budget(
    running: Any, tmp_path: Path
) -> None:
    broker = FakeBroker()
    dead = StaticPublisher(tmp_path / "endpoints.json", "serving", "0")
    dead.publish(Endpoint("127.0.0.1:1", "127.0.0.1:1", 1))
    gone = StaticPublisher(tmp_path / "endpoints.json", "chaos", "0")
    gone.publish(Endpoint("127.0.0.1:1", "127.0.0.1:1", 1))
    gone.withdraw()
    async with running(broker) as service:
        stub = MonitorServiceStub(service.context.channel("monitor"))
        (burned,) = await broker.wait_for(BudgetBurned)
        request = api.ListServiceLevelObjectivesRequest()
        answer = await _until(
            lambda: stub.ListServiceLevelObjectives(request),
            lambda found: any(
                one.name == "slos/monitor-latency" and one.total_count > 3
                for one in found.service_level_objectives
            ),
        )

    found = {one.name: one for one in answer.service_level_objectives}
    assert (burned.slo, burned.service, burned.revision) == ("slos/serving-availability", "serving", 1)
    assert found["slos/serving-availability"].budget_left < -1_000
    assert found["slos/chaos-availability"].total_count == 0
    assert found["slos/monitor-availability"].budget_left == 1.0
    assert found["slos/monitor-latency"].threshold_ms == 100.0
    assert len(found) == 18


async def test_lists_come_in_pages_and_refusals_are_rich(running: Any) -> None:
    names: list[str] = []
    async with running(FakeBroker()) as service:
        stub = MonitorServiceStub(service.context.channel("monitor"))
        token = ""
        while not names or token:
            request = api.ListServiceLevelObjectivesRequest(page_size=5, page_token=token)
            page = await stub.ListServiceLevelObjectives(request)
            names += [one.name for one in page.service_level_objectives]
            token = page.next_page_token
        with pytest.raises(RpcFailure) as missing:
            await stub.GetDriftReport(api.GetDriftReportRequest(model="models/none"))
        with pytest.raises(RpcFailure) as wrong:
            await stub.ListModelScores(api.ListModelScoresRequest(parent="none"))

    assert (len(names), names) == (18, sorted(names))
    assert (missing.value.code, missing.value.reason) == (StatusCode.NOT_FOUND, "MODEL_NOT_WATCHED")
    assert [item.field for item in wrong.value.field_violations] == ["parent"]
