"""Makes experiments, their databases and the running service."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mltrainer.experiment.v1 import events_pb2 as events
from mltrainer.experiment.v1 import experiment_service_pb2 as api
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_common.service import start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_experiment.adapters.reader import SqlExperimentReader
from mltrainer_experiment.adapters.unit_of_work import SqlExposureWriter, SqlUnitOfWorkFactory
from mltrainer_experiment.bootstrap import assemble
from mltrainer_experiment.domain.experiment import Definition, Experiment, Variant
from mltrainer_experiment.settings import ExperimentSettings
from mltrainer_experiment.wire.events import to_message
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock
from mltrainer_testkit.fake_broker import FakeBroker

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
FIRST_DAY = datetime(2022, 1, 3, 21, tzinfo=UTC)
ARMS = (Variant("champion", "champion", 1.0), Variant("challenger", "challenger", 1.0))


class Make:
    """Makes values with sensible defaults."""

    @staticmethod
    def definition(**changes: Any) -> Definition:
        return Definition(**{"model": "models/vol5", "variants": ARMS, "metric": "squared_error", **changes})

    def experiment(self, experiment_id: str = "blue", **changes: Any) -> Experiment:
        return Experiment(experiment_id, self.definition(**changes), salt="s")

    def active(self, experiment_id: str = "blue", **changes: Any) -> Experiment:
        return self.experiment(experiment_id, **changes).start(NOW)

    @staticmethod
    def create_request(experiment_id: str = "blue", **changes: Any) -> api.CreateExperimentRequest:
        request = api.CreateExperimentRequest(experiment_id=experiment_id, request_id=f"r-{experiment_id}")
        request.experiment.model, request.experiment.metric = "models/vol5", "squared_error"
        for arm in ARMS:
            request.experiment.variants.add(variant=arm.variant, alias=arm.alias, weight=arm.weight)
        for name, value in changes.items():
            setattr(request.experiment, name, value)
        return request

    @staticmethod
    def exposure(
        unit: str, variant: str = "champion", *, minutes: int = 0, experiment: str = "experiments/blue"
    ) -> events.ExposureLogged:
        event = events.ExposureLogged(experiment=experiment, unit=unit, variant=variant, source="sdk")
        event.expose_time.FromDatetime(NOW + timedelta(minutes=minutes))
        return event

    @staticmethod
    def outcome(
        unit: str,
        value: float,
        *,
        day: int = 0,
        outcome_id: str = "",
        experiment: str = "experiments/blue",
        metric: str = "squared_error",
    ) -> events.OutcomeReported:
        event = events.OutcomeReported(
            outcome_id=outcome_id or f"o-{unit}", experiment=experiment, unit=unit, metric=metric, value=value
        )
        event.event_time.FromDatetime(FIRST_DAY + timedelta(days=day))
        return event


@pytest.fixture
def make() -> Make:
    return Make()


@dataclass(frozen=True, slots=True)
class Store:
    """One database as the use cases see it."""

    database: Database
    unit_of_work: SqlUnitOfWorkFactory
    reader: SqlExperimentReader
    writer: SqlExposureWriter


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path}/experiment.db"
    if request.param == "postgresql":
        from mltrainer_testkit.databases import create_postgres_database

        url = await create_postgres_database(request.getfixturevalue("postgres_server_url"))
    await migrate(url, "mltrainer_experiment.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(
            database, "experiment", OutboxSignal(), encode=to_message, clock=ManualClock()
        )
        yield Store(
            database,
            SqlUnitOfWorkFactory(transactions),
            SqlExperimentReader(database),
            SqlExposureWriter(database),
        )


Running = Callable[..., Any]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Runs the service on one data directory, as often as wanted; gives its channel."""

    @asynccontextmanager
    async def run(broker: FakeBroker, **settings: Any) -> AsyncIterator[Any]:
        platform = PlatformSettings(data_directory=tmp_path, kafka_bootstrap_servers="127.0.0.1:1")
        chosen = ExperimentSettings(**{"decide_interval_s": 0.05, "refresh_interval_s": 0.05, **settings})
        async with start_service("experiment", platform, chosen, partial(assemble, broker=broker)) as service:
            yield service

    return run
