from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mltrainer.experiment.v1.events_pb2 import OutcomeReported
from mltrainer.registry.v1.events_pb2 import VersionCreated
from mltrainer.serving.v1.events_pb2 import PredictionLogged
from mltrainer_common.content_store import ContentStore
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_common.service import start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_models import ModelReference, model_store_url, summarise_reference
from mltrainer_monitor.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_monitor.bootstrap import assemble
from mltrainer_monitor.settings import MonitorSettings
from mltrainer_monitor.wire.events import to_message
from mltrainer_testkit.clocks import ManualClock
from mltrainer_testkit.fake_broker import FakeBroker

FIRST_DAY = datetime(2022, 1, 3, 21, tzinfo=UTC)
MODEL = "models/vol5"
NAMES = ("momentum", "range")


@dataclass(frozen=True, slots=True)
class Make:
    """Builds events and references."""

    def reference(self, rows: int = 20_000) -> ModelReference:
        random = np.random.default_rng(1)
        return summarise_reference(NAMES, random.normal(size=(rows, 2)), random.normal(size=rows))

    def stored_reference(self, data_directory: Path) -> str:
        store = ContentStore(model_store_url(str(data_directory / "artifacts")))
        return store.put_bytes(self.reference().to_bytes())

    def version(self, number: int = 1, digest: str = "", model: str = MODEL) -> VersionCreated:
        event = VersionCreated(model=model, revision=number)
        event.version.name, event.version.number = f"{model}/versions/{number}", number
        if digest:
            event.version.manifest.files.add(path="reference.json", sha256=digest)
        return event

    def prediction(
        self,
        day: int,
        rows: Sequence[Sequence[float]],
        predictions: Sequence[float],
        *,
        number: int = 1,
        symbols: Sequence[str] | None = None,
        variant: str = "champion",
        predicted_after: timedelta = timedelta(),
    ) -> PredictionLogged:
        names = [f"S{index}" for index in range(len(predictions))] if symbols is None else symbols
        event = PredictionLogged(
            deployment="deployments/vol5",
            version=f"{MODEL}/versions/{number}",
            request_id=f"{day}",
            feature_names=NAMES,
            features=[value for row in rows for value in row],
            predictions=predictions,
            symbols=names,
            variant=variant,
        )
        event.event_time.FromDatetime(FIRST_DAY + timedelta(days=day))
        event.predict_time.FromDatetime(FIRST_DAY + timedelta(days=day) + predicted_after)
        return event

    def days(self, count: int, shift: float = 0.0, first: int = 0, seed: int = 7) -> list[PredictionLogged]:
        """Makes a call a day of two symbols, independent from day to day."""
        random = np.random.default_rng(seed)
        return [
            self.prediction(first + day, random.normal(shift, size=(2, 2)), random.normal(shift, size=2))
            for day in range(count)
        ]

    def label(self, day: int, symbol: str, value: float, known_after_days: int = 5) -> OutcomeReported:
        event = OutcomeReported(
            outcome_id=f"{day}-{symbol}", metric="label", model=MODEL, symbol=symbol, value=value, unit="u"
        )
        event.event_time.FromDatetime(FIRST_DAY + timedelta(days=day))
        event.knowledge_time.FromDatetime(FIRST_DAY + timedelta(days=day + known_after_days))
        return event


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@dataclass(frozen=True, slots=True)
class Store:
    """One database as the use cases see it."""

    database: Database
    unit_of_work: SqlUnitOfWorkFactory
    clock: ManualClock


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path}/monitor.db"
    if request.param == "postgresql":
        from mltrainer_testkit.databases import create_postgres_database

        url = await create_postgres_database(request.getfixturevalue("postgres_server_url"))
    await migrate(url, "mltrainer_monitor.adapters.migrations")
    clock = ManualClock()
    async with open_database(url) as database:
        transactions = EventTransactions(database, "monitor", OutboxSignal(), encode=to_message, clock=clock)
        yield Store(database, SqlUnitOfWorkFactory(database, transactions), clock)


Running = Callable[..., Any]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Runs the service on one data directory, as often as wanted."""

    @asynccontextmanager
    async def run(broker: FakeBroker, **settings: Any) -> AsyncIterator[Any]:
        platform = PlatformSettings(data_directory=tmp_path, kafka_bootstrap_servers="127.0.0.1:1")
        quick = {"scrape_interval_s": 0.1, "judge_interval_s": 0.1, "drift_interval_s": 0.05}
        chosen = MonitorSettings(**{**quick, **settings})
        async with start_service("monitor", platform, chosen, partial(assemble, broker=broker)) as service:
            yield service

    return run
