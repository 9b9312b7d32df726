"""The real trainer executes real attempts against fakes of its peers."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from mltrainer.feature.v1.resources_pb2 import Dataset
from mltrainer.scheduler.v1.events_pb2 import TrainingPreempted
from mltrainer.trainer.v1 import events_pb2 as events
from mltrainer.trainer.v1.resources_pb2 import Attempt
from mltrainer.trainer.v1.trainer_service_pb2 import (
    GetAttemptRequest,
    GetStudyRequest,
    ListCatalogueEntriesRequest,
    ListTrialsRequest,
)
from mltrainer.trainer.v1.trainer_service_pb2_grpc import TrainerServiceStub
from mltrainer_common.service import RunningService, start_service
from mltrainer_models import load_predictor
from mltrainer_testkit.fake_broker import FakeBroker
from mltrainer_trainer.adapters.processes import start_mark
from mltrainer_trainer.bootstrap import assemble
from mltrainer_trainer.settings import TrainerSettings

pytestmark = pytest.mark.integration

Stage = Any  # fixtures are not importable; see conftest.py
SETTINGS = TrainerSettings(
    supervise_interval_s=0.1,
    renew_interval_s=0.2,
    report_interval_s=0.2,
    grace_s=1.0,
    memory_bytes=1 << 30,
)
TRACEPARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


@asynccontextmanager
async def running_trainer(
    stage: Stage, broker: FakeBroker, settings: TrainerSettings = SETTINGS
) -> AsyncIterator[RunningService]:
    async with start_service(
        "trainer", stage.platform, settings, partial(assemble, broker=broker)
    ) as service:
        yield service


def stub_of(service: RunningService) -> Any:
    return TrainerServiceStub(service.context.channel("trainer"))


async def process_of(stage: Stage, training: str = "t1", token: int = 1) -> int:
    """Waits until the process of an attempt has said who it is."""
    file = stage.platform.data_directory / "trainer" / "attempts" / f"{training}.1.{token}" / "process.json"
    async with asyncio.timeout(20):
        while not file.exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
    return int(json.loads(file.read_text())["pid"])


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while start_mark(pid) is not None:  # noqa: ASYNC110 - another process ends
            await asyncio.sleep(0.02)


async def test_a_placement_becomes_a_model_with_its_lineage_in_one_trace(
    stage: Stage, fake_broker: FakeBroker
) -> None:
    placed = stage.placed()
    async with stage.serve_peers(), running_trainer(stage, fake_broker) as service:
        await fake_broker.send(placed, traceparent=TRACEPARENT)
        (succeeded,) = await fake_broker.wait_for(events.AttemptSucceeded, timeout_s=60)
        attempt = await stub_of(service).GetAttempt(GetAttemptRequest(name="trainings/t1/attempts/1"))
        study = await stub_of(service).GetStudy(GetStudyRequest(name="studies/vol5"))
        trials = await stub_of(service).ListTrials(ListTrialsRequest(parent="studies/vol5"))
        await gone(await process_of(stage))

    (header, files) = stage.peers.uploads[0]
    assert (header.training, header.fencing_token) == ("trainings/t1", 1)
    assert load_predictor(files).description.catalogue_id == succeeded.result.catalogue_id
    assert {"model.sig", "sbom.cdx.json"} <= files.keys()
    assert succeeded.computation_key == placed.computation_key == succeeded.lineage.computation_key
    assert succeeded.spec == placed.spec
    assert succeeded.lineage.dataset_sha256 == stage.peers.dataset_sha256
    assert succeeded.lineage.feature_view_versions == ["volatility@1"]
    assert {row.catalogue_id for row in succeeded.result.leaderboard} == {"persistence", "har"}
    assert succeeded.result.study_trial_count == study.trial_count == len(trials.trials) == 2
    assert attempt.result == succeeded.result
    assert [event.fencing_token for event in fake_broker.events(events.AttemptStarted)] == [1]
    assert fake_broker.events(events.AttemptFailed) == []
    assert fake_broker.dead_letters() == []
    record = fake_broker.records("mltrainer.trainer.attempt-succeeded.v1")[0]
    assert dict(record.headers)["traceparent"].decode().split("-")[1] == "ab" * 16
    assert {"attempt", "mltrainer.feature.v1.FeatureService/CreateDataset"} <= spans_of(stage, "ab" * 16)


async def test_an_attempt_with_two_cores_arrives_where_one_with_one_core_does(
    stage: Stage, fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLTRAINER_TRAINER_REUSE_ENABLED", "false")
    asked: dict[str, Any] = {"models": ("persistence", "har", "ridge"), "max_trials": 6}
    async with stage.serve_peers(), running_trainer(stage, fake_broker):
        for cores in (1, 2):
            await fake_broker.send(stage.placed(f"on{cores}", cpus=cores, **asked))
            await fake_broker.wait_for(events.AttemptSucceeded, cores, timeout_s=60)

    one, two = (it.result for it in fake_broker.events(events.AttemptSucceeded))
    outputs = [
        (stage.platform.data_directory / "trainer" / "attempts" / f"on{cores}.1.1" / "output.log").read_text()
        for cores in (1, 2)
    ]
    assert ["trials_in_parallel" in output for output in outputs] == [False, True]
    assert two.canonical_digest == one.canonical_digest
    assert two.leaderboard == one.leaderboard
    assert two.parameters_json == one.parameters_json


def spans_of(stage: Stage, trace_id: str) -> set[str]:
    lines = (stage.platform.data_directory / "traces" / "trainer.jsonl").read_text().splitlines()
    return {
        span["name"]
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        if span["traceId"] == trace_id
    }


async def test_the_trainer_announces_its_release_and_its_node(stage: Stage, fake_broker: FakeBroker) -> None:
    async with running_trainer(stage, fake_broker) as service:
        (released,) = await fake_broker.wait_for(events.TrainerReleased)
        reports = await fake_broker.wait_for(events.NodeReported, 2)
        entries = await stub_of(service).ListCatalogueEntries(ListCatalogueEntriesRequest(page_size=1000))

    assert len(released.code_digest) == len(released.environment_digest) == 64
    assert sorted(it.id for it in released.catalogue_entries) == [it.id for it in entries.catalogue_entries]
    assert {report.node for report in reports} == {"nodes/local-0"}
    assert reports[0].revision < reports[1].revision
    assert reports[0].capacity.cpus > 0


async def test_an_attempt_that_arrives_at_another_key_says_so(stage: Stage, fake_broker: FakeBroker) -> None:
    async with stage.serve_peers(), running_trainer(stage, fake_broker):
        await fake_broker.send(stage.placed(key="another"))
        (failed,) = await fake_broker.wait_for(events.AttemptFailed, timeout_s=60)

    assert (failed.reason, failed.retryable) == ("KEY_MISMATCH", True)
    assert stage.peers.uploads == []


async def test_labels_that_never_change_are_refused_for_good(
    constant_stage: Stage, fake_broker: FakeBroker
) -> None:
    async with constant_stage.serve_peers(), running_trainer(constant_stage, fake_broker):
        await fake_broker.send(constant_stage.placed())
        (failed,) = await fake_broker.wait_for(events.AttemptFailed, timeout_s=60)

    assert (failed.reason, failed.retryable) == ("CONSTANT_TARGET", False)


async def test_a_preempted_attempt_is_over_with_its_process(stage: Stage, fake_broker: FakeBroker) -> None:
    stage.peers.dataset_state = Dataset.STATE_CREATING
    placed = stage.placed()
    async with stage.serve_peers(), running_trainer(stage, fake_broker):
        await fake_broker.send(placed)
        pid = await process_of(stage)
        await fake_broker.send(
            TrainingPreempted(training=placed.training, allocation=placed.allocation.name, reason="CANCELLED")
        )
        (failed,) = await fake_broker.wait_for(events.AttemptFailed)
        await gone(pid)

    assert (failed.reason, failed.retryable) == ("CANCELLED", False)


async def test_a_killed_process_is_a_failure_that_may_be_retried(
    stage: Stage, fake_broker: FakeBroker
) -> None:
    stage.peers.dataset_state = Dataset.STATE_CREATING
    async with stage.serve_peers(), running_trainer(stage, fake_broker):
        await fake_broker.send(stage.placed())
        await fake_broker.wait_for(events.AttemptStarted)
        os.kill(await process_of(stage), signal.SIGKILL)
        (failed,) = await fake_broker.wait_for(events.AttemptFailed)

    assert (failed.reason, failed.retryable) == ("PROCESS_DIED", True)


async def test_a_process_whose_lease_lapses_ends_itself(stage: Stage, fake_broker: FakeBroker) -> None:
    stage.peers.dataset_state = Dataset.STATE_CREATING
    placed = stage.placed()
    placed.allocation.lease_expire_time.seconds -= 26
    async with stage.serve_peers("feature", "registry"), running_trainer(stage, fake_broker):
        await fake_broker.send(placed)
        (failed,) = await fake_broker.wait_for(events.AttemptFailed, timeout_s=30)

    assert (failed.reason, failed.retryable) == ("LEASE_LAPSED", True)


async def test_an_attempt_survives_its_trainer_and_is_finished_by_the_next(
    stage: Stage, fake_broker: FakeBroker
) -> None:
    stage.peers.dataset_state = Dataset.STATE_CREATING
    async with stage.serve_peers():
        async with running_trainer(stage, fake_broker):
            await fake_broker.send(stage.placed())
            await fake_broker.wait_for(events.AttemptStarted)
            pid = await process_of(stage)
        survived = start_mark(pid) is not None
        stage.peers.dataset_state = Dataset.STATE_ACTIVE
        async with running_trainer(stage, fake_broker):
            await fake_broker.wait_for(events.AttemptSucceeded, timeout_s=60)

    assert survived
    assert len(fake_broker.events(events.AttemptStarted)) == 1
    assert len(fake_broker.events(events.AttemptSucceeded)) == 1
    assert fake_broker.events(events.AttemptFailed) == []


@pytest.mark.parametrize("seed", [1, 2])
async def test_redelivered_and_reordered_placements_start_each_attempt_once(stage: Stage, seed: int) -> None:
    broker = FakeBroker(redeliver=True, shuffle_seed=seed)
    stage.peers.dataset_state = Dataset.STATE_CREATING
    async with stage.serve_peers(), running_trainer(stage, broker) as service:
        for event in (stage.placed(), stage.placed(attempt=2)):
            await broker.send(event)
        await broker.settle()
        last = await stub_of(service).GetAttempt(GetAttemptRequest(name="trainings/t1/attempts/2"))

    started = [event.attempt for event in broker.events(events.AttemptStarted)]
    ended = [(event.attempt, event.reason) for event in broker.events(events.AttemptFailed)]
    assert last.state == Attempt.STATE_EXECUTING
    assert started in ([2], [1, 2], [2, 1])
    assert ended in ([], [(1, "SUPERSEDED")])


async def test_an_undecodable_placement_is_given_up_and_the_next_one_is_handled(
    stage: Stage, fake_broker: FakeBroker
) -> None:
    stage.peers.dataset_state = Dataset.STATE_CREATING
    malformed = stage.placed()
    malformed.training = "trainings/../../etc"
    async with stage.serve_peers(), running_trainer(stage, fake_broker):
        await fake_broker.send(malformed)
        await fake_broker.send(stage.placed())
        await fake_broker.wait_for(events.AttemptStarted, timeout_s=30)

    assert len(fake_broker.dead_letters()) == 1


async def test_events_committed_while_the_broker_is_away_are_published_once_it_is_back(
    stage: Stage, fake_broker: FakeBroker
) -> None:
    stage.peers.dataset_state = Dataset.STATE_CREATING
    async with stage.serve_peers():
        async with running_trainer(stage, fake_broker):
            await fake_broker.send(stage.placed())
            await fake_broker.wait_for(events.AttemptStarted)
            fake_broker.is_available = False
            os.kill(await process_of(stage), signal.SIGKILL)
            await gone(await process_of(stage))
        await fake_broker.resume()
        async with running_trainer(stage, fake_broker):
            await fake_broker.wait_for(events.AttemptFailed, timeout_s=30)

    assert len(fake_broker.events(events.AttemptFailed)) == 1
