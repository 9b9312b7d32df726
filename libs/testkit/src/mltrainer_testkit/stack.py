"""Runs the real local stack for tests: its processes, the bundled market, trainings that cost little."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path

from google.protobuf.message import Message
from mltrainer.feature.v1.feature_service_pb2 import (
    GetBarImportRequest,
    GetFeatureViewRequest,
    ImportBarsRequest,
)
from mltrainer.feature.v1.resources_pb2 import BarImport
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer.types.v1.types_pb2 import TargetKind
from mltrainer_cli import stack_control
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.market_data import bundled_prices, bundled_symbols
from mltrainer_cli.processes import ProcessIdentity, members
from mltrainer_cli.record import SupervisorRecord
from mltrainer_cli.stack import StackOptions
from mltrainer_common.content_store import ContentStore
from mltrainer_common.settings import PlatformSettings
from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_sdk import Client, Role, RpcFailure
from opentelemetry.trace import Tracer

SYMBOLS = bundled_symbols()[:3]
VIEW = "market_volatility"
FIRST_DAY = date(2010, 1, 1)
FIRST_TEST_TIME = datetime(2016, 1, 1, tzinfo=UTC)
AS_OF = datetime(2019, 12, 31, 21, tzinfo=UTC)
_CLOSE = time(21, 0, tzinfo=UTC)
_POLL_S = 0.1
_ROLES = (Role.TRADER, Role.PRODUCER, Role.OPERATOR, Role.SERVICE)


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack of real processes in a data directory of its own.

    Attributes:
        services: Slugs to run; all that are installed when None.
        environment: Further settings of every service.
    """

    data: DataDirectory
    services: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> SupervisorRecord:
        """Starts it, or starts it again on the same data."""
        options = StackOptions(services=self.services, environment=self.environment)
        return stack_control.start(self.data, options)

    def stop(self) -> None:
        """Ends every process of it."""
        stack_control.stop(self.data)

    def record(self) -> SupervisorRecord:
        """Returns what runs now."""
        return stack_control.require_running(self.data)

    def processes(self) -> list[ProcessIdentity]:
        """Returns every process that carries the mark of this stack, wherever it hangs."""
        stack_id = self.data.stack_id
        return members(stack_id) if stack_id else []

    @asynccontextmanager
    async def client(self, tracer: Tracer | None = None) -> AsyncIterator[Client]:
        """Connects with every role that the platform's own services and users have."""
        platform = PlatformSettings(
            data_directory=self.data.path, kafka_bootstrap_servers=self.record().kafka_bootstrap_servers
        )
        async with Client.connect(subject="test", roles=_ROLES, tracer=tracer, platform=platform) as client:
            yield client


@contextmanager
def running_stack(
    directory: Path, services: tuple[str, ...] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[RunningStack]:
    """Runs a stack and ends it, whatever happens."""
    stack = RunningStack(DataDirectory(directory), services, environment or {})
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


async def load_bars(
    stack: RunningStack, client: Client, symbols: Sequence[str] = SYMBOLS, first_day: date = FIRST_DAY
) -> int:
    """Loads the bundled closing prices of symbols and returns how many bars there are.

    Raises:
        AssertionError: The load failed.
    """
    content = await asyncio.to_thread(_bars_csv, symbols, first_day)
    store = ContentStore(str(stack.data.path / "artifacts"))
    digest = await asyncio.to_thread(store.put_bytes, content)
    loaded = await client.feature.ImportBars(ImportBarsRequest(sha256=digest))
    while loaded.state == BarImport.STATE_RUNNING:
        await asyncio.sleep(_POLL_S)
        loaded = await client.feature.GetBarImport(GetBarImportRequest(name=loaded.name))
    assert loaded.state == BarImport.STATE_SUCCEEDED, loaded.error
    return loaded.accepted_count


async def wait_for_rows(client: Client, at_least: int, timeout_s: float = 60.0) -> int:
    """Waits until the view has rows; returns how many."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                view = await client.feature.GetFeatureView(GetFeatureViewRequest(name=f"featureViews/{VIEW}"))
            except RpcFailure:
                view = None
            if view is not None and view.row_count >= at_least:
                return view.row_count
            await asyncio.sleep(_POLL_S)


async def publish_patiently(client: Client, event: Message, event_id: str, timeout_s: float = 120.0) -> None:
    """Publishes an event as a careful producer does: again under the same id until the broker has it."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                await client.publish(event, event_id)
            except BrokerUnavailableError:
                await asyncio.sleep(_POLL_S)
            else:
                return


def cheap_request(request_id: str, seed: int, study: str = "cheap", alias: str = "") -> TrainingRequested:
    """Describes a training of the cheapest model; requests with different seeds share no computation."""
    asked = TrainingRequested(
        request_id=request_id,
        study=f"studies/{study}",
        symbols=SYMBOLS,
        feature_views=[VIEW],
        owner="test",
        propose_alias=alias,
    )
    asked.target.kind = TargetKind.TARGET_KIND_LOG_REALIZED_VARIANCE
    asked.target.horizon_bars = 5
    asked.as_of.FromDatetime(AS_OF)
    asked.evaluation.first_test_time.FromDatetime(FIRST_TEST_TIME)
    asked.evaluation.refit_interval_bars = 252
    asked.search.models.append("persistence")
    asked.search.max_trials = 1
    asked.search.seed = seed
    asked.budget.cpu_seconds = 120
    asked.resources.cpus = 1
    return asked


def _bars_csv(symbols: Sequence[str], first_day: date) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["symbol", "event_time", "close"])
    for price in bundled_prices():
        if price.symbol in symbols and first_day <= price.day <= AS_OF.date():
            close = datetime.combine(price.day, _CLOSE)
            writer.writerow([price.symbol, close.isoformat(), repr(price.price_usd)])
    return text.getvalue().encode()
