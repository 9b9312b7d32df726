"""An attempt killed anywhere goes on where it was: the same model, and no trial evaluated twice.

`MLTRAINER_KILLED_TRIALS=8 pytest services/trainer/tests/component/test_killed_attempt.py` kills more often.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mltrainer.trainer.v1 import events_pb2 as events
from mltrainer.trainer.v1.resources_pb2 import Attempt
from mltrainer.trainer.v1.trainer_service_pb2 import GetAttemptRequest, GetStudyRequest
from mltrainer.trainer.v1.trainer_service_pb2_grpc import TrainerServiceStub
from mltrainer_common.service import start_service
from mltrainer_testkit.fake_broker import FakeBroker
from mltrainer_trainer import execution_bootstrap
from mltrainer_trainer.adapters.process_backend import ProcessBackend
from mltrainer_trainer.bootstrap import assemble
from mltrainer_trainer.settings import TrainerSettings

pytestmark = pytest.mark.integration

Stage = Any  # fixtures are not importable; see conftest.py
TRIALS = int(os.environ.get("MLTRAINER_KILLED_TRIALS", "2"))
EVERYWHERE = [f"{when} {number}" for number in range(1, TRIALS + 1) for when in ("before", "after")]
PLACES = EVERYWHERE[1:] if TRIALS > 2 else ["after 1", "before 2"]
PROGRAM = Path(__file__).with_name("held_attempt.py")
MODELS = ("har", "ridge")


async def held(data: Path) -> int:
    """Waits until the attempt has arrived and returns its process."""
    file = data / "held"
    async with asyncio.timeout(60):
        while not file.exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
    pid = int(file.read_text())
    file.unlink()
    return pid


@pytest.fixture
def held_program(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has the trainer start attempts that can be held, and recall only what the trainer was told."""
    monkeypatch.setenv("MLTRAINER_TRAINER_REUSE_ENABLED", "false")
    program = (sys.executable, str(PROGRAM))
    monkeypatch.setattr(execution_bootstrap, "ProcessBackend", partial(ProcessBackend, program=program))
    data: Path = stage.platform.data_directory
    (data / "hold").write_text("nowhere")
    return data


@pytest.mark.timeout(60 + 20 * TRIALS)
async def test_an_attempt_killed_anywhere_ends_with_the_same_model_and_repeats_no_finished_trial(
    stage: Stage, fake_broker: FakeBroker, held_program: Path
) -> None:
    data = held_program
    settings = TrainerSettings(supervise_interval_s=0.1, renew_interval_s=0.2, memory_bytes=1 << 30)
    asked: dict[str, Any] = {"models": MODELS, "max_trials": TRIALS}
    starting = start_service("trainer", stage.platform, settings, partial(assemble, broker=fake_broker))
    async with stage.serve_peers(), starting as service:
        await fake_broker.send(stage.placed("whole", **asked))
        (whole,) = await fake_broker.wait_for(events.AttemptSucceeded, timeout_s=60)
        (data / "evaluated").rename(data / "evaluated.whole")
        for number, place in enumerate(PLACES, 1):
            (data / "hold").write_text(place)
            await fake_broker.send(stage.placed("killed", attempt=number, **asked))
            os.kill(await held(data), signal.SIGKILL)
            await fake_broker.wait_for(events.AttemptFailed, number, timeout_s=30)
        (data / "hold").write_text("nowhere")
        await fake_broker.send(stage.placed("killed", attempt=len(PLACES) + 1, **asked))
        (_, killed) = await fake_broker.wait_for(events.AttemptSucceeded, 2, timeout_s=60)
        study = await TrainerServiceStub(service.context.channel("trainer")).GetStudy(
            GetStudyRequest(name="studies/vol5")
        )

    evaluated = Counter((data / "evaluated").read_text().split())
    assert set(evaluated.values()) == {1}
    assert set(evaluated) == set((data / "evaluated.whole").read_text().split())
    assert len(evaluated) == study.trial_count >= TRIALS
    assert {event.reason for event in fake_broker.events(events.AttemptFailed)} == {"PROCESS_DIED"}
    assert (killed.result.catalogue_id, killed.result.parameters_json, killed.result.canonical_digest) == (
        whole.result.catalogue_id,
        whole.result.parameters_json,
        whole.result.canonical_digest,
    )
    assert killed.result.leaderboard == whole.result.leaderboard


async def test_an_attempt_that_is_asked_to_end_gives_its_place_back(
    stage: Stage, fake_broker: FakeBroker, held_program: Path
) -> None:
    (held_program / "hold").write_text("after 1")
    settings = TrainerSettings(supervise_interval_s=0.1, renew_interval_s=0.2, memory_bytes=1 << 30)
    starting = start_service("trainer", stage.platform, settings, partial(assemble, broker=fake_broker))
    async with stage.serve_peers(), starting as service:
        await fake_broker.send(stage.placed(models=MODELS))
        os.kill(await held(held_program), signal.SIGTERM)
        (failed,) = await fake_broker.wait_for(events.AttemptFailed, timeout_s=30)
        attempt = await TrainerServiceStub(service.context.channel("trainer")).GetAttempt(
            GetAttemptRequest(name="trainings/t1/attempts/1")
        )

    assert (failed.reason, failed.retryable) == ("PREEMPTED", True)
    assert attempt.state == Attempt.STATE_CANCELLED
    assert attempt.HasField("checkpoint_time")
