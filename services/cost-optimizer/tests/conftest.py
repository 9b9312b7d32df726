"""Makes events and accounts, their databases and the running service."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mltrainer.scheduler.v1.events_pb2 import AllocationEnded, AllocationStarted
from mltrainer.trainer.v1.events_pb2 import UsageSampled
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_common.service import start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_cost_optimizer.adapters.reader import SqlLedgerReader
from mltrainer_cost_optimizer.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_cost_optimizer.application.answer import GetBillHandler
from mltrainer_cost_optimizer.application.record_events import RecordEventsHandler, Report, Started
from mltrainer_cost_optimizer.bootstrap import assemble
from mltrainer_cost_optimizer.domain.account import Account, Billable, Ending, Reservation, Usage
from mltrainer_cost_optimizer.domain.money import Rate, Resource
from mltrainer_cost_optimizer.domain.prices import Price, PriceList, Reserved
from mltrainer_cost_optimizer.domain.waste import Thresholds
from mltrainer_cost_optimizer.settings import CostOptimizerSettings
from mltrainer_cost_optimizer.wire.events import to_message
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock
from mltrainer_testkit.fake_broker import FakeBroker

START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
PRICES = PriceList(
    "test 2026-01-01",
    cpu=Price(36_000, 9_000),
    memory=Price(3_600, 900),
    gpus={"T4": Price(360_000, 90_000), "other": Price(3_600_000, 900_000)},
)


class Make:
    """Makes values with sensible defaults: two CPUs and one GiB from START on."""

    @staticmethod
    def time(seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    @staticmethod
    def rate(resource: Resource = Resource.CPU, amount: int = 2_000, price: int = 36_000) -> Rate:
        return Rate("sku", resource, amount, price, price, "test 2026-01-01")

    def account(self, name: str = "a", *rates: Rate, **changes: Any) -> Account:
        held = Reservation("trainings/t", "studies/s", "desk", START, rates or (self.rate(),))
        return Account(f"allocations/{name}", **{"reservation": held, **changes})

    @staticmethod
    def billable(account: Account) -> Billable:
        billable = Billable.of(account)
        assert billable is not None
        return billable

    def usage(self, seconds: float, cpu_s: float, memory_bytes: int = 0) -> Usage:
        return Usage(round(cpu_s * 1e6), 0, memory_bytes, self.time(seconds))

    def ending(self, seconds: float, reason: str = "SUCCEEDED") -> Ending:
        return Ending(self.time(seconds), reason)

    @staticmethod
    def started(training: str = "trainings/t", study: str = "studies/s", **changes: Any) -> Started:
        reserved = Reserved(2_000, 1 << 30, 0, "")
        return Started(
            **{
                "training": training,
                "study": study,
                "owner": "desk",
                "is_spot": False,
                "start_time": START,
                "reserved": reserved,
                **changes,
            }
        )

    @staticmethod
    def report(fact: Any, name: str = "a", event_id: str = "") -> Report:
        return Report(event_id or f"{name}-{fact}", f"allocations/{name}", fact)

    def start_event(
        self, name: str = "a", training: str = "trainings/t", **changes: Any
    ) -> AllocationStarted:
        event = AllocationStarted(training=training, study="studies/s", owner="desk", **changes)
        event.allocation.name, event.allocation.training = f"allocations/{name}", training
        event.allocation.resources.cpus, event.allocation.resources.memory_bytes = 2, 1 << 30
        event.allocation.start_time.FromDatetime(START)
        return event

    def end_event(self, seconds: float, name: str = "a", reason: str = "SUCCEEDED") -> AllocationEnded:
        event = AllocationEnded(training="trainings/t")
        event.allocation.name, event.allocation.end_reason = f"allocations/{name}", reason
        event.allocation.end_time.FromDatetime(self.time(seconds))
        return event

    def usage_event(self, seconds: float, cpu_s: float, name: str = "a") -> UsageSampled:
        event = UsageSampled(training="trainings/t", allocation=f"allocations/{name}", cpu_seconds=cpu_s)
        event.sample_time.FromDatetime(self.time(seconds))
        return event


@pytest.fixture
def make() -> Make:
    return Make()


@dataclass(frozen=True, slots=True)
class Store:
    """One database as the use cases see it; its clock stands an hour after START."""

    database: Database
    unit_of_work: SqlUnitOfWorkFactory
    reader: SqlLedgerReader
    record: RecordEventsHandler
    bill: GetBillHandler


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path}/costs.db"
    if request.param == "postgresql":
        from mltrainer_testkit.databases import create_postgres_database

        url = await create_postgres_database(request.getfixturevalue("postgres_server_url"))
    clock = ManualClock(START + timedelta(hours=1))
    await migrate(url, "mltrainer_cost_optimizer.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(
            database, "cost-optimizer", OutboxSignal(), encode=to_message, clock=clock
        )
        unit_of_work = SqlUnitOfWorkFactory(transactions)
        reader = SqlLedgerReader(database)
        record = RecordEventsHandler(unit_of_work, PRICES, Thresholds(), clock)
        yield Store(database, unit_of_work, reader, record, GetBillHandler(reader, clock))


Running = Callable[..., Any]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Runs the service on one data directory, as often as wanted."""

    @asynccontextmanager
    async def run(broker: FakeBroker, **settings: Any) -> AsyncIterator[Any]:
        platform = PlatformSettings(data_directory=tmp_path, kafka_bootstrap_servers="127.0.0.1:1")
        chosen = CostOptimizerSettings(**settings)
        async with start_service(
            "cost-optimizer", platform, chosen, partial(assemble, broker=broker)
        ) as service:
            yield service

    return run
