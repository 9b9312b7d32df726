"""Bars that are kept out: nothing of them is lost, and they can be judged again."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_feature.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_feature.application.open_store import OpenStoreHandler
from mltrainer_feature.application.queries import PageRequest
from mltrainer_feature.application.record_bars import ReceivedBars, RecordBarsHandler
from mltrainer_feature.application.refused_bars import ListRefusedBarsHandler, ReplayRefusedBarsHandler
from mltrainer_feature.domain.bars import Bars, KeptRefusal
from mltrainer_feature.domain.errors import InvalidRequestError, ResourceNotFoundError
from mltrainer_feature.domain.rows import RowMatrix
from mltrainer_feature.wire.events import to_message
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock

from .quotes import Quote, day, to_bars

DELAY = timedelta(hours=12)


class NoOnlineRows:
    """Stands in for the online store."""

    async def refresh(self) -> None:
        return None

    async def take(self, rows: RowMatrix, log_revision: int) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Service:
    """The handlers over one database."""

    unit_of_work: SqlUnitOfWorkFactory
    clock: ManualClock
    record: RecordBarsHandler
    find: ListRefusedBarsHandler
    replay: ReplayRefusedBarsHandler

    async def receive(self, *quotes: Quote) -> None:
        ids = tuple(f"{quote.symbol}-{quote.day}-{quote.close}" for quote in quotes)
        await self.record(ReceivedBars(ids, to_bars(quotes)))

    async def refused(self, **wanted: str) -> list[KeptRefusal]:
        return (await self.find(PageRequest(), **wanted)).items

    async def bars(self, quotes: list[Quote]) -> Bars:
        async with self.unit_of_work.snapshot() as stored:
            return await stored.bars.known(to_bars(quotes))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    url = f"sqlite:///{tmp_path}/feature.db"
    if request.param == "postgresql":
        from mltrainer_testkit.databases import create_postgres_database

        url = await create_postgres_database(request.getfixturevalue("postgres_server_url"))
    await migrate(url, "mltrainer_feature.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(database, "feature", OutboxSignal(), encode=to_message)
        unit_of_work, online, clock = (
            SqlUnitOfWorkFactory(transactions, database),
            NoOnlineRows(),
            ManualClock(),
        )
        clock.set(day(10))
        await OpenStoreHandler(unit_of_work, online, DELAY)()
        yield Service(
            unit_of_work,
            clock,
            RecordBarsHandler(unit_of_work, online, clock),
            ListRefusedBarsHandler(unit_of_work),
            ReplayRefusedBarsHandler(unit_of_work, online, clock),
        )


def names(refused: list[KeptRefusal]) -> list[str]:
    return [f"refusedBars/{one.number}" for one in refused]


async def test_refused_bars_are_listed_newest_first_by_symbol_and_reason(service: Service) -> None:
    await service.receive(
        Quote("A", 1, 0.0), Quote("B", 1, 5.0), Quote("B", 2, float("nan")), Quote("B", 3, -1.0)
    )

    everything = await service.refused()
    of_b = await service.refused(symbol="B")
    not_positive = await service.refused(reason="PRICE_NOT_POSITIVE")
    first = await service.find(PageRequest(size=2))
    second = await service.find(PageRequest(size=2, token=first.next_token))

    assert [one.refusal.reason for one in everything] == [
        "PRICE_NOT_POSITIVE",
        "PRICE_NOT_FINITE",
        "PRICE_NOT_POSITIVE",
    ]
    assert [one.refusal.event_time for one in of_b] == [day(3), day(2)]
    assert [one.refusal.symbol for one in not_positive] == ["B", "A"]
    assert names([*first.items, *second.items]) == names(everything)
    assert second.next_token == ""


async def test_a_bar_from_the_future_is_stored_when_its_time_has_come(service: Service) -> None:
    early = Quote("A", 20, 7.0)
    await service.receive(early)
    refused = await service.refused()
    service.clock.set(day(20))

    replayed = await service.replay(names(refused))

    assert [one.refusal.reason for one in refused] == ["FROM_THE_FUTURE"]
    assert (replayed.accepted_count, replayed.refused) == (1, ())
    assert await service.refused() == []
    assert (await service.bars([early])).equals(to_bars([early]))


async def test_a_bar_that_is_still_unusable_stays_as_it_was(service: Service) -> None:
    await service.receive(Quote("A", 1, -3.0))
    refused = await service.refused()

    replayed = await service.replay(names(refused))

    assert (replayed.accepted_count, replayed.refused) == (0, tuple(refused))
    assert await service.refused() == refused


async def test_only_refused_bars_can_be_judged_again(service: Service) -> None:
    with pytest.raises(ResourceNotFoundError):
        await service.replay(["refusedBars/77"])
    with pytest.raises(InvalidRequestError):
        await service.replay(["bars/1", "refusedBars/x"])
    with pytest.raises(InvalidRequestError):
        await service.replay([])
