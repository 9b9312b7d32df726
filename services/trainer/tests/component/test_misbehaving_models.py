"""A model that takes too much of anything costs its trial or its attempt, under a name, and nothing else."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mltrainer.trainer.v1 import events_pb2 as events
from mltrainer_common.service import start_service
from mltrainer_testkit.fake_broker import FakeBroker
from mltrainer_trainer import execution_bootstrap
from mltrainer_trainer.adapters.process_backend import ProcessBackend
from mltrainer_trainer.bootstrap import assemble
from mltrainer_trainer.settings import TrainerSettings

Stage = Any  # fixtures are not importable; see conftest.py
PROGRAM = Path(__file__).with_name("misbehaving_attempt.py")
SETTINGS = TrainerSettings(
    supervise_interval_s=0.1,
    renew_interval_s=0.2,
    report_interval_s=0.2,
    memory_bytes=4 << 30,
    output_limit_bytes=64 << 10,
)
MEBIBYTE = 1 << 20
LIMITS = {"FILE_BYTES": 8 * MEBIBYTE, "SCRATCH_BYTES": 16 * MEBIBYTE}
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has attempts misbehave under limits that are soon reached."""
    program = (sys.executable, str(PROGRAM))
    monkeypatch.setattr(execution_bootstrap, "ProcessBackend", partial(ProcessBackend, program=program))
    for name, value in LIMITS.items():
        monkeypatch.setenv(f"MLTRAINER_TRAINER_LIMIT_{name}", str(value))


@asynccontextmanager
async def misbehaving(stage: Stage, broker: FakeBroker, ways: Mapping[str, str]) -> AsyncIterator[None]:
    """Runs the trainer on models that misbehave."""
    lines = [f"{model} {way}" for model, way in ways.items()]
    (stage.platform.data_directory / "misbehaviour").write_text("\n".join(lines))
    starting = start_service("trainer", stage.platform, SETTINGS, partial(assemble, broker=broker))
    async with stage.serve_peers(), starting:
        yield


def directory(stage: Stage) -> Path:
    """Returns what the attempt has left."""
    (found,) = (stage.platform.data_directory / "trainer" / "attempts").iterdir()
    return Path(found)


async def test_a_study_goes_on_without_the_models_that_take_too_much(
    stage: Stage, fake_broker: FakeBroker
) -> None:
    ways = {"ridge": "hold_memory", "elastic-net": "write_a_large_file", "ols": "print_a_lot"}
    models = ("har", *ways)
    async with misbehaving(stage, fake_broker, ways):
        await fake_broker.send(stage.placed(models=models, memory_bytes=1 << 30))
        (succeeded,) = await fake_broker.wait_for(events.AttemptSucceeded, timeout_s=90)

    skipped = {row.catalogue_id: row.skipped_reason for row in succeeded.result.leaderboard}
    assert "OUT_OF_MEMORY" in skipped["ridge"]
    assert "File too large" in skipped["elastic-net"]
    assert not skipped["har"]
    assert (directory(stage) / "output.log").stat().st_size <= LIMITS["FILE_BYTES"]
    assert not (directory(stage) / "scratch").exists()


@pytest.mark.parametrize(
    ("way", "reason", "asked"),
    [
        pytest.param("write_many_files", "DISK_EXCEEDED", {}, id="disk"),
        pytest.param("use_cpu", "BUDGET_EXCEEDED", {"cpu_seconds": 2.0}, id="budget"),
    ],
)
async def test_an_attempt_that_does_not_end_is_ended_under_a_name(
    stage: Stage, fake_broker: FakeBroker, way: str, reason: str, asked: dict[str, Any]
) -> None:
    async with misbehaving(stage, fake_broker, {"har": way}):
        await fake_broker.send(stage.placed(models=("har",), **asked))
        (failed,) = await fake_broker.wait_for(events.AttemptFailed, timeout_s=90)

    assert (failed.reason, failed.retryable) == (reason, False)
    assert not (directory(stage) / "scratch").exists()
