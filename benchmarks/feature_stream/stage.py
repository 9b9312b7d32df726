"""A broker and a feature service as processes of their own, with history loaded, and a client of it."""

import asyncio
import math
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceStub
from mltrainer.feature.v1.resources_pb2 import BarImport
from mltrainer_common.authorization import Role
from mltrainer_common.content_store import ContentStore
from mltrainer_common.discovery import StaticResolver
from mltrainer_common.errors import RpcFailure
from mltrainer_common.rpc_client import Caller, ServiceChannel
from mltrainer_common.rpc_metrics import ClientMetrics
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key
from mltrainer_feature.wire.feast_stubs import serving_pb2
from mltrainer_features import VIEWS, feature_names
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

READ = "/feast.serving.ServingService/GetOnlineFeatures"
HISTORY_BARS = 300
_TICKS = os.sysconf("SC_CLK_TCK")
_TIMEOUT_S = 120.0


class FeatureService:
    """A running service, as its callers see it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: ServiceChannel, data: Path) -> None:
        self._process = process
        self._data = data
        self.api = FeatureServiceStub(channel)
        self._read = channel.unary_unary(
            READ,
            request_serializer=serving_pb2.GetOnlineFeaturesRequest.SerializeToString,
            response_deserializer=serving_pb2.GetOnlineFeaturesResponse.FromString,
        )

    def cpu_s(self) -> float:
        """Returns the CPU time of the process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    async def event_times_us(self, symbols: Sequence[str]) -> list[int]:
        """Reads a feature of symbols online and returns the event times of what was read."""
        request = serving_pb2.GetOnlineFeaturesRequest()
        request.features.val.append("market_returns:return_1")
        request.entities["symbol"].CopyFrom(_texts(symbols))
        answer = await self._read(request, timeout=10.0)
        return [moment.seconds * 1_000_000 + moment.nanos // 1_000 for moment in _times(answer)]

    async def vectors(self, symbols: Sequence[str]) -> dict[str, list[float]]:
        """Reads every feature of symbols online; NaN where a value is undefined."""
        request = serving_pb2.GetOnlineFeaturesRequest()
        request.features.val.extend(
            f"{view.name}:{item.name}" for view in VIEWS.values() for item in view.features
        )
        request.entities["symbol"].CopyFrom(_texts(symbols))
        answer = await self._read(request, timeout=10.0)
        places = {name: place for place, name in enumerate(answer.metadata.feature_names.val)}
        columns = [answer.results[places[name]].values for name in feature_names()]
        return {symbol: [_number(column[row]) for column in columns] for row, symbol in enumerate(symbols)}

    def stored_bars(self) -> int:
        """Counts the bars in the database, looking past the service."""
        path = self._data / "feature" / "feature.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM bar").fetchone()[0])

    def kill(self) -> None:
        """Ends the process at once, wherever it is."""
        self._process.kill()

    async def wait_ready(self) -> None:
        """Waits until calls are answered."""
        until_s = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                await self.api.ListFeatureViews(service_pb2.ListFeatureViewsRequest(), timeout=1)
            except RpcFailure:
                if time.monotonic() > until_s or self._process.returncode is not None:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def load(self, symbols: Sequence[str], end: datetime, step: timedelta) -> None:
        """Loads so many bars of each symbol that every window is whole."""
        lines = ["symbol,event_time,close"]
        for index in range(HISTORY_BARS):
            moment = (end - (HISTORY_BARS - index) * step).isoformat()
            lines += [f"{symbol},{moment},{close(symbol, index)}" for symbol in symbols]
        digest = ContentStore(str(self._data / "artifacts")).put_bytes("\n".join(lines).encode())
        found = await self.api.ImportBars(service_pb2.ImportBarsRequest(sha256=digest))
        while found.state == BarImport.STATE_RUNNING:
            await asyncio.sleep(0.1)
            found = await self.api.GetBarImport(service_pb2.GetBarImportRequest(name=found.name))
        assert found.accepted_count == HISTORY_BARS * len(symbols), found


def _texts(symbols: Sequence[str]) -> Any:
    repeated = serving_pb2.GetOnlineFeaturesRequest().entities["symbol"]
    for symbol in symbols:
        repeated.val.add(string_val=symbol)
    return repeated


def _number(value: Any) -> float:
    return float(value.double_val) if value.WhichOneof("val") == "double_val" else math.nan


def _times(answer: Any) -> Any:
    place = list(answer.metadata.feature_names.val).index("return_1")
    return answer.results[place].event_timestamps


def close(symbol: str, index: int) -> float:
    """Returns a price that moves, without a random number."""
    return 100.0 + (index * 7 + sum(symbol.encode()) * 13) % 31


@asynccontextmanager
async def running_service(
    data: Path, bootstrap_servers: str, settings: dict[str, str] | None = None
) -> AsyncIterator[FeatureService]:
    """Runs the service on a data directory until the block ends."""
    environment = {
        **os.environ,
        "MLTRAINER_DATA_DIRECTORY": str(data),
        "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "MLTRAINER_LOG_LEVEL": "warning",
        **(settings or {}),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "mltrainer_feature", env=environment)
    key = load_or_create_token_key(data / "token.key")
    caller = Caller(
        TokenIssuer(key, "users/bench", [Role.OPERATOR]), NoOpTracer(), ClientMetrics(CollectorRegistry())
    )
    channel = ServiceChannel("feature", StaticResolver(data / "endpoints.json"), caller)
    service = FeatureService(process, channel, data)
    try:
        await service.wait_ready()
        yield service
    finally:
        await channel.close()
        if process.returncode is None:
            process.terminate()
        await process.wait()
