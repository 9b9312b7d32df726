"""Runs the whole service in this process, on SQLite and a broker in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceStub
from mltrainer_common.content_store import ContentStore
from mltrainer_common.service import RunningService, start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_feature.bootstrap import assemble
from mltrainer_feature.settings import FeatureSettings
from mltrainer_feature.wire.feast_stubs import serving_pb2_grpc
from mltrainer_testkit.fake_broker import FakeBroker

from .quotes import Quote, to_event

MARKET_NOW = datetime(2022, 6, 1, 21, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Feature:
    """A running service and its clients."""

    service: RunningService
    broker: FakeBroker
    store: ContentStore

    @property
    def api(self) -> FeatureServiceStub:
        """Calls the service's own contract."""
        return FeatureServiceStub(self.service.context.channel("feature"))

    @property
    def feast(self) -> Any:
        """Calls Feast's contract."""
        return serving_pb2_grpc.ServingServiceStub(self.service.context.channel("feature"))

    async def send(self, quotes: Sequence[Quote]) -> None:
        """Publishes bars and waits until they are handled."""
        for quote in quotes:
            await self.broker.send(to_event(quote))
        await self.broker.settle()


async def poll(ask: Callable[[], Awaitable[Any]], is_done: Callable[[Any], bool]) -> Any:
    """Asks until the answer is final."""
    async with asyncio.timeout(30):
        while not is_done(answer := await ask()):  # noqa: ASYNC110 - asks over a network
            await asyncio.sleep(0.01)
    return answer


StartFeature = Callable[..., AbstractAsyncContextManager[Feature]]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Gives the URL of an empty database, of each product in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/feature.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def start_feature(tmp_path: Path) -> StartFeature:
    """Starts the service on one data directory, as often as asked."""

    @asynccontextmanager
    async def start(
        broker: FakeBroker | None = None, settings: FeatureSettings | None = None
    ) -> AsyncIterator[Feature]:
        clock = f"replay:{MARKET_NOW.isoformat()}@{datetime.now(UTC).isoformat()}x1"
        platform = PlatformSettings(data_directory=tmp_path, market_clock=clock)
        broker = broker or FakeBroker()
        build = partial(assemble, broker=broker)
        async with start_service("feature", platform, settings or FeatureSettings(), build) as service:
            yield Feature(service, broker, ContentStore(str(tmp_path / "artifacts")))

    return start
