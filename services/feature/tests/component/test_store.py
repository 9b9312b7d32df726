"""Promises of the repositories and of recording bars, on SQLite and PostgreSQL."""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.fs
import pytest
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_feature.adapters.frames import read_blocks
from mltrainer_feature.adapters.offline.entity_rows import rows_of_table
from mltrainer_feature.adapters.offline.join import Workspace, join_features
from mltrainer_feature.adapters.offline.requests import JoinKey, Output, ViewRequest
from mltrainer_feature.adapters.offline.sources import Location
from mltrainer_feature.adapters.online_rows import CachedOnlineRows, RowLayout
from mltrainer_feature.adapters.tables import row_block
from mltrainer_feature.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_feature.application.online_plans import plan_read
from mltrainer_feature.application.open_store import OpenStoreHandler
from mltrainer_feature.application.record_bars import ReceivedBars, RecordBarsHandler
from mltrainer_feature.domain.definitions import DefinitionKind, Definitions, FeatureList, plan_changes
from mltrainer_feature.domain.rows import EventRange, RowMatrix, Rows, compute_rows, newest_rows
from mltrainer_feature.domain.views import ViewState
from mltrainer_feature.wire.events import to_message
from mltrainer_feature.wire.feast_registry import REGISTRY_FILE, read_schema
from mltrainer_features import ON_DEMAND_VIEWS
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_testkit.clocks import ManualClock
from mltrainer_testkit.conformance import check_an_event_is_claimed_once
from polars.testing import assert_frame_equal
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from .quotes import Quote, day, market, to_bars

DELAY = timedelta(hours=12)
SCHEMA = read_schema(REGISTRY_FILE.read_bytes())
LAYOUT = RowLayout(SCHEMA)
Batch = list[Quote]


MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Store:
    """A feature store without its calls and events."""

    unit_of_work: SqlUnitOfWorkFactory
    online: CachedOnlineRows
    database: Database

    async def open(self, delay: timedelta = DELAY) -> None:
        await OpenStoreHandler(self.unit_of_work, self.online, delay)()

    async def online_row(self, symbol: str) -> RowMatrix:
        async with self.unit_of_work.snapshot() as stored:
            rows, _ = await stored.rows.online_rows(-1)
        return rows.at(np.array([rows.symbols.index(symbol)]))

    def recorder(self) -> RecordBarsHandler:
        return RecordBarsHandler(self.unit_of_work, self.online, ManualClock(day(10_000)))

    async def record(self, batch: Batch) -> int:
        record = self.recorder()
        ids = tuple(f"{quote.symbol}-{quote.day}-{quote.known_after}-{quote.close}" for quote in batch)
        return (await record(ReceivedBars(ids, to_bars(batch)))).accepted_count

    async def rows(self) -> Rows:
        symbols = [f"S{number}" for number in range(5)]
        async with self.unit_of_work.snapshot() as stored:
            known = [await stored.rows.rows_known_at(name, None, None, day(9_999), 1_000) for name in symbols]
        return pl.concat(known).sort("event_time", "symbol")

    async def versions(self) -> Rows:
        names = ("event_time", "created_time", "row_count", "symbols", "features")
        async with self.database.snapshot() as connection:
            blocks = (await connection.execute(select(*(row_block.c[name] for name in names)))).all()
        return read_blocks(blocks, [f"S{number}" for number in range(5)])

    async def decided(self) -> Rows:
        symbols = [f"S{number}" for number in range(5)]
        async with self.unit_of_work.snapshot() as stored:
            return await stored.rows.decided_rows(symbols, EventRange(day(0), day(9_999)), day(9_999), DELAY)

    async def views(self) -> tuple[ViewState, ...]:
        async with self.unit_of_work.snapshot() as stored:
            state = await stored.store.load()
        assert state is not None
        return state.views

    async def quarantined(self) -> list[str]:
        async with self.database.snapshot() as connection:
            found = await connection.exec_driver_sql("SELECT reason FROM quarantined_bar ORDER BY id")
            return list(found.scalars())

    async def outbox_size(self) -> int:
        async with self.database.snapshot() as connection:
            return int((await connection.exec_driver_sql("SELECT count(*) FROM outbox")).scalar_one())


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path}/feature.db"
    if request.param == "postgresql":
        from mltrainer_testkit.databases import create_postgres_database

        url = await create_postgres_database(request.getfixturevalue("postgres_server_url"))
    await migrate(url, "mltrainer_feature.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(database, "feature", OutboxSignal(), encode=to_message)
        unit_of_work = SqlUnitOfWorkFactory(transactions, database)
        store = Store(unit_of_work, CachedOnlineRows(unit_of_work, LAYOUT), database)
        await store.open()
        yield store


def in_order(quotes: Batch) -> list[Batch]:
    return [quotes]


def one_by_one(quotes: Batch) -> list[Batch]:
    return [[quote] for quote in quotes]


def shuffled(quotes: Batch) -> list[Batch]:
    draw = random.Random(7)
    mixed = draw.sample(quotes, len(quotes))
    return [mixed[start : start + 9] for start in range(0, len(mixed), 9)]


def twice(quotes: Batch) -> list[Batch]:
    return [*shuffled(quotes), *shuffled(quotes)]


def symbol_by_symbol(quotes: Batch) -> list[Batch]:
    return [
        [quote for quote in quotes if quote.symbol == symbol] for symbol in sorted({q.symbol for q in quotes})
    ]


@pytest.mark.parametrize("arrive", [in_order, one_by_one, shuffled, twice, symbol_by_symbol])
async def test_rows_do_not_depend_on_how_bars_arrive(
    store: Store, arrive: Callable[[Batch], list[Batch]]
) -> None:
    quotes = market(3, 30)
    quotes += [Quote("S0", 3, 55.0, timedelta(days=4)), Quote("S1", 9, 44.0, timedelta(hours=1))]
    quotes += [Quote("S3", 5, 20.0), Quote("S3", 6, 21.0, timedelta(days=2))]
    closes = to_bars(quotes).select("symbol", "event_time", "knowledge_time", "close")
    expected = compute_rows(closes, EventRange(day(0), day(29)), DELAY)

    for batch in arrive(quotes):
        await store.record(batch)

    newest = expected.sort("created_time").unique(["symbol", "event_time"], keep="last")
    assert_close(await store.rows(), newest.sort("event_time", "symbol"))
    decided = expected.filter(pl.col("created_time") <= pl.col("event_time") + DELAY)
    assert_close((await store.decided()).sort("event_time", "symbol"), decided.sort("event_time", "symbol"))
    async with store.unit_of_work.snapshot() as stored:
        online, _ = await stored.rows.online_rows(-1)
    assert {
        row["symbol"]: (row["event_time"], row["created_time"]) for row in online.to_rows().rows(named=True)
    } == {
        row["symbol"]: (row["event_time"], row["created_time"])
        for row in newest_rows(expected).iter_rows(named=True)
    }


def assert_close(found: Rows, expected: Rows) -> None:
    assert_frame_equal(found, expected, check_exact=False, rel_tol=0, abs_tol=1e-12)


async def test_a_join_at_the_decision_times_finds_what_a_dataset_holds(store: Store, tmp_path: Path) -> None:
    quotes = market(3, 40)
    quotes += [Quote("S0", 3, 55.0, timedelta(days=4)), Quote("S1", 9, 44.0, timedelta(hours=1))]
    quotes += [Quote("S2", 20, 20.0, timedelta(days=2)), Quote("S2", 20, 21.0, timedelta(days=3))]
    await store.record(quotes)
    versions, decided = await store.versions(), await store.decided()
    versions.write_parquet(tmp_path / "rows.parquet")
    features = versions.columns[3:]
    request = ViewRequest(
        view_name="rows",
        dataset=Location(pyarrow.fs.LocalFileSystem(), str(tmp_path / "rows.parquet")).dataset(),
        keys=(JoinKey("symbol", "symbol"), JoinKey("event_time", "event_time")),
        outputs=tuple(Output(name, name) for name in features),
        event_column="event_time",
        created_column="created_time",
        max_age=None,
        is_created_time_honoured=True,
    )
    asked = (
        versions.select("symbol", "event_time")
        .unique()
        .with_columns(event_timestamp=pl.col("event_time") + DELAY)
    )

    joined = join_features(rows_of_table(asked.to_arrow()), [request], Workspace(2**30))

    found = pl.DataFrame(pa.concat_tables(joined)).join(decided, on=["symbol", "event_time"], how="semi")
    assert versions.height > decided.height
    assert_frame_equal(
        found.select("symbol", "event_time", *features).sort("event_time", "symbol"),
        decided.select("symbol", "event_time", *features).sort("event_time", "symbol"),
    )


async def test_a_repeated_batch_changes_nothing_and_tells_nothing(store: Store) -> None:
    quotes = market(2, 3)
    await store.record(quotes)
    views, told = await store.views(), await store.outbox_size()

    accepted = await store.record(quotes)

    assert accepted == 0
    assert (await store.views(), await store.outbox_size()) == (views, told)


async def test_a_later_symbol_of_the_same_day_renews_the_rows_of_that_day(store: Store) -> None:
    await store.record([Quote("S0", 0, 10.0), Quote("S1", 0, 10.0), Quote("S0", 1, 11.0)])
    alone = await store.online_row("S0")

    await store.record([Quote("S1", 1, 9.0, timedelta(minutes=5))])

    together = await store.online_row("S0")
    assert (together.created_times - alone.created_times).tolist() == [timedelta(minutes=5) // MICROSECOND]
    assert together.values.tolist() != alone.values.tolist()
    assert {view.data_revision for view in await store.views()} == {1}


async def test_a_restated_bar_moves_the_data_revision_of_every_view(store: Store) -> None:
    await store.record(market(2, 3))

    await store.record([Quote("S0", 1, 1.0, timedelta(days=1))])

    assert {(view.data_revision, view.revision) for view in await store.views()} == {(2, 2)}


async def test_adjusted_and_other_prices_of_a_symbol_never_mix(store: Store) -> None:
    record = store.recorder()
    quotes = [Quote("S0", 0, 1.0), Quote("S0", 1, 1.0), Quote("S1", 1, 1.0), Quote("S1", 2, 1.0)]
    adjusted = pl.Series([True, False, False, False])

    # One by one: what is not yet known, what is remembered, and what the window could take.
    results = [
        await record(ReceivedBars((str(place),), to_bars([quote]).with_columns(adjusted=adjusted[place])))
        for place, quote in enumerate(quotes)
    ]
    restarted = await store.record([Quote("S1", 3, 1.0)])

    assert [one.accepted_count for one in results] == [1, 0, 1, 1]
    assert restarted == 0
    assert await store.quarantined() == ["ADJUSTMENT_MIXED", "ADJUSTMENT_MIXED"]


async def test_a_batch_that_mixes_a_new_symbol_goes_by_its_first_bar(store: Store) -> None:
    bars = to_bars([Quote("S0", 1, 1.0), Quote("S0", 0, 1.0), Quote("S0", 2, 1.0)])
    mixed = bars.with_columns(adjusted=pl.Series([True, False, False]))

    recorded = await store.recorder()(ReceivedBars(("a", "b", "c"), mixed))

    assert recorded.accepted_count == 2
    assert [(one.event_time, one.reason) for one in recorded.refusals] == [(day(1), "ADJUSTMENT_MIXED")]


async def test_unusable_and_contradicting_bars_are_quarantined(store: Store) -> None:
    await store.record([Quote("S0", 0, 10.0)])

    await store.record([Quote("S0", 0, 99.0), Quote("S1", 0, -1.0), Quote("S2", 0, 5.0)])

    assert sorted(await store.quarantined()) == ["CONFLICTS_WITH_KNOWN_BAR", "PRICE_NOT_POSITIVE"]
    assert (await store.online_row("S2")).to_rows()["event_time"].to_list() == [day(0)]


async def test_a_restart_shows_the_same_rows_online(store: Store) -> None:
    await store.record(market(2, 30))
    again = CachedOnlineRows(store.unit_of_work, LAYOUT)

    await again.refresh()

    [expected] = LAYOUT.cells(await store.online_row("S1"))
    plan = plan_read(SCHEMA.service("daily_market_v1"))
    for online in (store.online, again):
        [[cells, absent]] = await online.read(plan.groups, [[LAYOUT.key("S1"), LAYOUT.key("S9")]])
        assert dict(zip(plan.groups[0].fields, cells, strict=True)) == expected
        assert set(absent) == {None}


async def test_another_decision_delay_computes_all_rows_again(store: Store) -> None:
    await store.record([*market(1, 10), Quote("S0", 9, 50.0, timedelta(hours=2))])

    await store.open(timedelta(hours=1))

    assert {(view.data_revision, view.revision) for view in await store.views()} == {(2, 2)}
    async with store.unit_of_work.snapshot() as stored:
        assert (await stored.rows.statistics()).row_count == 11
    assert (await store.online_row("S0")).to_rows()["created_time"].to_list() == [day(9) + timedelta(hours=2)]


async def test_rows_are_listed_page_by_page_as_known_then(store: Store) -> None:
    await store.record([*market(1, 10), Quote("S0", 4, 50.0, timedelta(days=3))])

    async with store.unit_of_work.snapshot() as stored:
        first = await stored.rows.rows_known_at("S0", day(1), None, day(6), 3)
        second = await stored.rows.rows_known_at("S0", day(1), first["event_time"][-1], day(6), 9)
        later = await stored.rows.rows_known_at("S0", day(4), None, day(7), 1)

    assert first["event_time"].to_list() == [day(1), day(2), day(3)]
    assert second["event_time"].to_list() == [day(4), day(5), day(6)]
    assert (second["created_time"][0], later["created_time"][0]) == (day(4), day(7))


async def test_an_event_is_claimed_once(store: Store) -> None:
    await check_an_event_is_claimed_once(store.unit_of_work)


async def test_nothing_is_kept_of_a_write_that_fails(store: Store) -> None:
    async def fail_before_commit() -> None:
        async with store.unit_of_work() as uow:
            await uow.bars.add(to_bars([Quote("S0", 0, 10.0)]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_before_commit()

    assert await store.record([Quote("S0", 0, 10.0)]) == 1


async def test_writes_that_are_held_back_are_seen_by_the_next_read(store: Store) -> None:
    bars = to_bars([Quote("S0", 0, 10.0)])

    async with store.unit_of_work() as uow:
        await uow.bars.add(bars)
        known = await uow.bars.known(bars)

    assert_frame_equal(known, bars)


async def test_a_held_back_write_that_breaks_a_key_keeps_the_whole_transaction_out(store: Store) -> None:
    bars = to_bars([Quote("S0", 0, 10.0)])

    async with store.unit_of_work() as uow:
        await uow.bars.add(bars)
        await uow.bars.add(bars)
        with pytest.raises(DBAPIError):
            await uow.commit()

    async with store.unit_of_work.snapshot() as stored:
        assert (await stored.bars.known(bars)).is_empty()


async def test_rows_handed_on_never_replace_newer_ones(store: Store) -> None:
    await store.record(market(2, 3))
    newest = await store.online_row("S0")
    plan = plan_read(SCHEMA.service("daily_market_v1"))
    before = await store.online.read(plan.groups, [[LAYOUT.key("S0")]])
    async with store.unit_of_work.snapshot() as stored:
        _, reached = await stored.rows.online_rows(-1)

    await store.online.take(replace(newest, event_times=newest.event_times - 1), reached + 1)

    assert await store.online.read(plan.groups, [[LAYOUT.key("S0")]]) == before


async def test_definitions_are_stored_as_they_are(store: Store) -> None:
    changes = plan_changes(
        Definitions(),
        [
            replace(ON_DEMAND_VIEWS["trade_context"], name="desk"),
            FeatureList("desk_v1", 0, "What the desk reads.", ("desk:variance_slope",)),
        ],
        prune=False,
    )
    items = [change.after for change in changes]
    for definitions in (items, [replace(items[1], is_removed=True, revision=2)]):
        async with store.unit_of_work() as uow:
            await uow.definitions.save(definitions)
            await uow.commit()

    async with store.unit_of_work.snapshot() as stored:
        found = await stored.definitions.load()

    assert found.standing() == items[:1]
    assert found.removed(DefinitionKind.FEATURE_SERVICE) == {"desk_v1"}
    assert found.revision == 2
