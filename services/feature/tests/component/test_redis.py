"""Promises of the online store in Redis, on a real server that dies now and then."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_feature.adapters.online_rows import RowLayout
from mltrainer_feature.adapters.redis_connection import RedisAddress, RedisConnection, RedisReplyError
from mltrainer_feature.adapters.redis_layout import WRITE_SCRIPT, guard, guard_field, script_name
from mltrainer_feature.adapters.redis_rows import RedisOnlineRows, RedisOnlineStore
from mltrainer_feature.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_feature.application.online_plans import plan_read
from mltrainer_feature.application.open_store import OpenStoreHandler
from mltrainer_feature.application.record_bars import ReceivedBars, RecordBarsHandler
from mltrainer_feature.domain.errors import (
    OnlineStoreError,
    OnlineStoreLostError,
    OnlineStoreUnavailableError,
)
from mltrainer_feature.domain.online import Cell
from mltrainer_feature.wire.events import to_message
from mltrainer_feature.wire.feast_registry import REGISTRY_FILE, read_schema
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock
from mltrainer_testkit.redis import RedisServer

from .quotes import Quote, day, market, to_bars

pytestmark = pytest.mark.integration
SCHEMA = read_schema(REGISTRY_FILE.read_bytes())
LAYOUT = RowLayout(SCHEMA)
PLAN = plan_read(SCHEMA.service("daily_market_v1"))
DELAY = timedelta(hours=12)
GUARD = guard_field("v")


class Service:
    """What writes and reads online rows, without calls and events."""

    def __init__(self, unit_of_work: SqlUnitOfWorkFactory, connection: RedisConnection) -> None:
        self.unit_of_work = unit_of_work
        self.connection = connection
        self.rows = RedisOnlineRows(unit_of_work, LAYOUT, connection)
        self.store = RedisOnlineStore(connection)

    async def record(self, quotes: list[Quote]) -> None:
        ids = tuple(str(random.getrandbits(64)) for _ in quotes)
        record = RecordBarsHandler(self.unit_of_work, self.rows, ManualClock(day(10_000)))
        await record(ReceivedBars(ids, to_bars(quotes)))

    async def read(self, *symbols: str) -> list[dict[bytes, Cell]]:
        [found] = await self.store.read(PLAN.groups, [[LAYOUT.key(symbol) for symbol in symbols]])
        return [dict(zip(PLAN.groups[0].fields, cells, strict=True)) for cells in found]

    async def expected(self) -> dict[str, dict[bytes, bytes]]:
        async with self.unit_of_work.snapshot() as stored:
            rows, _ = await stored.rows.online_rows(-1)
        return dict(zip(rows.symbols, LAYOUT.cells(rows), strict=True))


@pytest.fixture
async def connection(redis: RedisServer) -> AsyncIterator[RedisConnection]:
    made = RedisConnection(RedisAddress.parse(redis.url))
    yield made
    await made.close()


@pytest.fixture
async def service(connection: RedisConnection, tmp_path: Path) -> AsyncIterator[Service]:
    url = f"sqlite:///{tmp_path}/feature.db"
    await migrate(url, "mltrainer_feature.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(database, "feature", OutboxSignal(), encode=to_message)
        made = Service(SqlUnitOfWorkFactory(transactions, database), connection)
        await OpenStoreHandler(made.unit_of_work, made.rows, DELAY)()
        yield made


async def eventually(attempt: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await attempt()
            except OnlineStoreError:
                await asyncio.sleep(0.02)


async def test_what_is_committed_is_read_from_redis(service: Service) -> None:
    await service.record(market(3, 30))

    found = await service.read("S2", "S0", "NONE")

    expected = await service.expected()
    assert found[:2] == [expected["S2"], expected["S0"]]
    assert set(found[2].values()) == {None}


async def test_the_order_of_bars_does_not_matter(service: Service) -> None:
    quotes = [
        *market(2, 10),
        Quote("S0", 3, 55.0, timedelta(days=4)),
        Quote("S1", 9, 44.0, timedelta(hours=1)),
    ]
    random.Random(5).shuffle(quotes)

    for quote in quotes:
        await service.record([quote])

    expected = await service.expected()
    assert await service.read("S0", "S1") == [expected["S0"], expected["S1"]]


async def test_an_emptied_redis_says_so_and_is_filled_again(service: Service) -> None:
    await service.record(market(2, 30))
    before = await service.read("S0")

    await service.connection.call(b"FLUSHALL")
    with pytest.raises(OnlineStoreLostError, match="mltrainer"):
        await service.read("S0")
    await service.rows.refresh()

    assert await service.read("S0") == before


async def test_a_redis_that_dies_and_returns_empty_never_reads_as_not_found(
    service: Service, redis: RedisServer
) -> None:
    await service.record(market(2, 30))
    before = await service.read("S0")

    redis.kill()
    with pytest.raises(OnlineStoreUnavailableError):
        await service.read("S0")
    await service.record([Quote("S1", 30, 9.0)])
    redis.start()
    answers: list[list[dict[bytes, Cell]]] = []

    async def read_while_it_is_filled() -> None:
        try:
            answers.append(await service.read("S0"))
        finally:
            await service.rows.refresh()

    await eventually(read_while_it_is_filled)

    expected = await service.expected()
    assert answers == [before]
    assert await service.read("S1") == [expected["S1"]]


async def test_a_read_notices_content_that_was_lost_and_came_back_meanwhile(service: Service) -> None:
    await service.record(market(1, 3))
    connection = service.connection

    class Interrupted(RedisConnection):
        """Loses and refills the content between the first mark and the rows."""

        async def execute(self, payload: bytes, count: int) -> list[object]:
            first, rest = payload[: payload.index(b"*", 1)], payload[payload.index(b"*", 1) :]
            replies = await connection.execute(first, 1)
            await connection.call(b"FLUSHALL")
            await service.rows.refresh()
            return [*replies, *await connection.execute(rest, count - 1)]

    store = RedisOnlineStore(Interrupted(RedisAddress.parse("redis://127.0.0.1:1")))

    with pytest.raises(OnlineStoreLostError):
        await store.read(PLAN.groups, [[LAYOUT.key("S0")]])


async def test_rows_of_other_definitions_replace_newer_ones(service: Service) -> None:
    await service.record([*market(1, 10), Quote("S0", 9, 50.0, timedelta(hours=2))])

    await OpenStoreHandler(service.unit_of_work, service.rows, timedelta(hours=1))()

    expected = await service.expected()
    assert await service.read("S0") == [expected["S0"]]


async def test_an_older_row_never_replaces_a_newer_one(connection: RedisConnection) -> None:
    versions = [(event, created) for event in (1, 2) for created in (None, 5, 9)]
    await connection.call(b"SCRIPT", b"LOAD", WRITE_SCRIPT)

    for number, order in enumerate(itertools.permutations(versions)):
        key = b"row%d" % number
        await asyncio.gather(
            *(
                connection.call(
                    b"EVALSHA",
                    script_name(WRITE_SCRIPT),
                    b"1",
                    key,
                    GUARD,
                    guard(event, created),
                    b"",
                    b"value",
                    f"{event}/{created}".encode(),
                )
                for event, created in order
            )
        )
        assert await connection.call(b"HGET", key, b"value") == b"2/9", order


def test_guards_are_ordered_as_their_times() -> None:
    times = [(-5, None), (-5, -9), (-5, 7), (0, None), (3, None), (3, 1), (10**15, 2)]

    guards = [guard(event, created) for event, created in times]

    assert guards == sorted(guards)
    assert guard(1, 1, sequence=2) > guard(1, 1, sequence=1)


async def test_many_readers_share_one_connection(service: Service) -> None:
    await service.record(market(5, 4))
    expected = await service.expected()
    symbols = [f"S{number % 5}" for number in range(500)]

    found = await asyncio.gather(*(service.read(symbol) for symbol in symbols))

    assert [cells for [cells] in found] == [expected[symbol] for symbol in symbols]


async def test_a_reader_that_gave_up_does_not_shift_the_answers_of_others(service: Service) -> None:
    await service.record(market(2, 4))
    expected = await service.expected()
    await service.read("S0")

    impatient = asyncio.create_task(service.read("S0"))
    patient = asyncio.create_task(service.read("S1"))
    await asyncio.sleep(0)
    impatient.cancel()

    assert await patient == [expected["S1"]]


async def test_a_silent_redis_fails_its_readers(tmp_path: Path) -> None:
    released = asyncio.Event()

    async def never_answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = RedisConnection(RedisAddress.parse(f"redis://127.0.0.1:{port}"), timeout_s=0.5)
    try:
        with pytest.raises(OnlineStoreUnavailableError, match="silent"):
            await connection.call(b"PING")
    finally:
        released.set()
        server.close()
        await connection.close()


async def test_a_database_of_redis_is_chosen_and_a_wrong_password_refused(redis: RedisServer) -> None:
    second = RedisConnection(RedisAddress.parse(f"{redis.url}/2"))
    stranger = RedisConnection(RedisAddress.parse(f"redis://somebody:wrong@127.0.0.1:{redis.port}"))
    try:
        await second.call(b"SET", b"key", b"value")
        assert b"db2:keys=1" in await second.call(b"INFO", b"keyspace")
        with pytest.raises(RedisReplyError, match="WRONGPASS"):
            await stranger.call(b"PING")
    finally:
        await second.close()
        await stranger.close()


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://", "redis://host/x"])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis://|invalid literal"):
        RedisAddress.parse(url)
