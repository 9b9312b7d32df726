"""A trainer killed with -9 in the middle of an attempt finds it again."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import pytest
from mltrainer.feature.v1.resources_pb2 import Dataset
from mltrainer_common.clock import SystemClock
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.tables import outbox
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_trainer.adapters.processes import start_mark
from mltrainer_trainer.adapters.queries import SqlTrainerQueries
from mltrainer_trainer.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_trainer.application.accept_placement import AcceptPlacementHandler
from mltrainer_trainer.domain.attempt import Attempt, AttemptState
from mltrainer_trainer.wire.events import to_event
from mltrainer_trainer.wire.placements import to_accept_placement
from sqlalchemy import select

pytestmark = pytest.mark.integration

Stage = Any  # fixtures are not importable; see conftest.py


async def start_trainer(stage: Stage) -> Process:
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(stage.platform.data_directory),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "MLTRAINER_TRAINER_RENEW_INTERVAL_S": "0.5",
    }
    log = (stage.platform.data_directory / "trainer.log").open("ab")
    with log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mltrainer_trainer", env=environment, stderr=log
        )


async def place(stage: Stage, url: str) -> str:
    await migrate(url, "mltrainer_trainer.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(database, "trainer", OutboxSignal(), to_event)
        command = to_accept_placement(stage.placed(), "e1", None)
        await AcceptPlacementHandler(SqlUnitOfWorkFactory(transactions), SystemClock())(command)
    return command.placement.attempt


async def reached(url: str, name: str, state: AttemptState, timeout_s: float = 180) -> Attempt:
    until = time.monotonic() + timeout_s
    async with open_database(url) as database:
        while time.monotonic() < until:
            attempt = await SqlTrainerQueries(database).attempt(name)
            if attempt is not None and attempt.state is state:
                return attempt
            await asyncio.sleep(0.1)
    raise TimeoutError(f"{name} has not become {state}")


async def events_of(url: str) -> list[str]:
    async with open_database(url) as database, database.snapshot() as connection:
        topics = (await connection.execute(select(outbox.c.topic).order_by(outbox.c.id))).scalars()
        return [topic.split(".")[2] for topic in topics if ".attempt-" in topic]


async def process_of(directory: Path) -> int:
    file = directory / "trainer" / "attempts" / "t1.1.1" / "process.json"
    async with asyncio.timeout(30):
        while not file.exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
    return int(json.loads(file.read_text())["pid"])


async def test_a_trainer_killed_in_the_middle_of_an_attempt_adopts_it_and_finishes(stage: Stage) -> None:
    stage.peers.dataset_state = Dataset.STATE_CREATING
    url = f"sqlite:///{stage.platform.data_directory}/trainer/trainer.db"
    name = await place(stage, url)
    async with stage.serve_peers():
        killed = await start_trainer(stage)
        pid = await process_of(stage.platform.data_directory)
        await reached(url, name, AttemptState.EXECUTING)
        killed.kill()
        await killed.wait()
        survived = start_mark(pid) is not None
        stage.peers.dataset_state = Dataset.STATE_ACTIVE
        successor = await start_trainer(stage)
        attempt = await reached(url, name, AttemptState.SUCCEEDED)
        successor.send_signal(signal.SIGTERM)
        exit_code = await successor.wait()

    assert survived
    assert attempt.execution_id is not None
    assert attempt.execution_id.startswith(f"{pid}.")
    assert exit_code == 0
    terminal = [event for event in await events_of(url) if event != "attempt-progressed"]
    assert terminal == ["attempt-started", "attempt-succeeded"]


async def test_a_trainer_started_alone_becomes_ready_and_ends_when_asked(stage: Stage) -> None:
    trainer = await start_trainer(stage)
    endpoints = stage.platform.data_directory / "endpoints.json"
    async with asyncio.timeout(60):
        while not endpoints.exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)

    trainer.send_signal(signal.SIGTERM)

    assert await trainer.wait() == 0
