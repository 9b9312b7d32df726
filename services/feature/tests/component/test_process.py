"""The service as a process of its own, without Kafka and without peers."""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1 import resources_pb2
from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceStub
from mltrainer_common.authorization import Role
from mltrainer_common.content_store import ContentStore
from mltrainer_common.discovery import StaticResolver
from mltrainer_common.errors import RpcFailure
from mltrainer_common.rpc_client import Caller, ServiceChannel
from mltrainer_common.rpc_metrics import ClientMetrics
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key
from mltrainer_feature.application.import_bars import CHUNK_BARS
from mltrainer_features import VIEWS
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from .conftest import poll
from .quotes import START

pytestmark = pytest.mark.integration
DAYS, SYMBOLS = 1_100, 20
# The second piece of a load never ends while this stands, and what came before is committed.
ENDLESS_SECOND_PIECE = """
CREATE TRIGGER endless BEFORE UPDATE ON bar_import WHEN OLD.accepted_count > 0 BEGIN
  SELECT count(*) FROM (
    WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 1e15)
    SELECT n FROM counted
  );
END
"""
RunProcess = Callable[..., AbstractAsyncContextManager["Process"]]


class Process:
    """A running service and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, api: FeatureServiceStub) -> None:
        self._process = process
        self.api = api

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal and returns the exit code."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await self._process.wait()

    async def ready(self) -> None:
        """Waits until a call is answered."""
        await poll(self._answers, bool)

    async def _answers(self) -> bool:
        try:
            await self.api.ListFeatureViews(service_pb2.ListFeatureViewsRequest(), timeout=1)
        except RpcFailure:
            return False
        return True


@pytest.fixture
def run_process(tmp_path: Path) -> RunProcess:
    environment = {**os.environ, "MLTRAINER_DATA_DIRECTORY": str(tmp_path), "MLTRAINER_LOG_LEVEL": "error"}
    environment["MLTRAINER_KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:9"

    @asynccontextmanager
    async def run(**settings: str) -> AsyncIterator[Process]:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mltrainer_feature", env=environment | settings
        )
        issuer = TokenIssuer(load_or_create_token_key(tmp_path / "token.key"), "users/test", [Role.OPERATOR])
        resolver = StaticResolver(tmp_path / "endpoints.json")
        caller = Caller(issuer, NoOpTracer(), ClientMetrics(CollectorRegistry()))
        channel = ServiceChannel("feature", resolver, caller)
        process = Process(started, FeatureServiceStub(channel))
        try:
            await process.ready()
            yield process
        finally:
            await process.end(signal.SIGKILL)
            await channel.close()

    return run


def execute(data: Path, statement: str) -> list[Any]:
    """Runs a statement past the service."""
    with closing(sqlite3.connect(data / "feature" / "feature.db", timeout=30)) as connection, connection:
        return connection.execute(statement).fetchall()


def history() -> bytes:
    lines = ["symbol,event_time,close"]
    for day in range(DAYS):
        date = (START - timedelta(days=DAYS - day)).date().isoformat()
        lines += [f"S{number:02},{date},{100 + (day * 7 + number * 13) % 31}" for number in range(SYMBOLS)]
    return "\n".join(lines).encode()


async def test_a_service_started_alone_answers_and_ends_cleanly(run_process: RunProcess) -> None:
    async with run_process() as process:
        views = await process.api.ListFeatureViews(service_pb2.ListFeatureViewsRequest())
        code = await process.end(signal.SIGTERM)

    assert len(views.feature_views) == len(VIEWS)
    assert code == 0


async def test_an_import_continues_after_the_process_was_killed(
    run_process: RunProcess, tmp_path: Path
) -> None:
    sha256 = ContentStore(str(tmp_path / "artifacts")).put_bytes(history())
    async with run_process() as process:
        execute(tmp_path, ENDLESS_SECOND_PIECE)
        started = await process.api.ImportBars(service_pb2.ImportBarsRequest(sha256=sha256))
        request = service_pb2.GetBarImportRequest(name=started.name)
        count = "SELECT accepted_count FROM bar_import WHERE accepted_count > 0"
        found = await poll(lambda: asyncio.to_thread(execute, tmp_path, count), bool)
        await process.end(signal.SIGKILL)
    execute(tmp_path, "DROP TRIGGER endless")
    async with run_process() as process:
        finished = await poll(
            lambda: process.api.GetBarImport(request),
            lambda answer: answer.state != resources_pb2.BarImport.STATE_RUNNING,
        )
        view = await process.api.GetFeatureView(
            service_pb2.GetFeatureViewRequest(name="featureViews/market_returns")
        )

    assert found == [(CHUNK_BARS,)]
    assert finished.state == resources_pb2.BarImport.STATE_SUCCEEDED
    assert finished.accepted_count == view.row_count == DAYS * SYMBOLS
    assert view.data_revision == 1


async def test_a_kill_between_taking_a_dropped_file_and_recording_it_loses_and_doubles_nothing(
    run_process: RunProcess, tmp_path: Path
) -> None:
    folder, store = tmp_path / "drop", ContentStore(str(tmp_path / "artifacts"))
    folder.mkdir()
    settings = {"MLTRAINER_FEATURE_DROP_FOLDER": str(folder), "MLTRAINER_FEATURE_DROP_SETTLE_S": "0"}
    content = b"".join(history().splitlines(keepends=True)[: 1 + 100 * SYMBOLS])
    async with run_process(**settings) as process:
        with closing(sqlite3.connect(tmp_path / "feature" / "feature.db", timeout=30)) as lock:
            # Nobody can record the load while this lasts, so the taking that has begun is in its middle.
            lock.execute("BEGIN IMMEDIATE")
            (folder / ".bars.csv").write_bytes(content)
            (folder / ".bars.csv").rename(folder / "bars.csv")
            await poll(lambda: asyncio.to_thread(lambda: list(store.contents())), bool)
            await process.end(signal.SIGKILL)
    left = [path.name for path in folder.iterdir()]
    async with run_process(**settings) as process:
        taken = await poll(lambda: asyncio.to_thread(lambda: list(folder.glob("taken/*"))), bool)
        view = await process.api.GetFeatureView(
            service_pb2.GetFeatureViewRequest(name="featureViews/market_returns")
        )

    assert left == ["bars.csv"]
    assert [path.read_bytes() for path in taken] == [content]
    assert view.row_count == 100 * SYMBOLS
    assert view.data_revision == 1
