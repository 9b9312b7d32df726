from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from mltrainer_common.bulk import Rows, insert_rows, write_rows
from mltrainer_common.database import Database, UtcDateTime, open_database
from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, select
from sqlalchemy.exc import IntegrityError

METADATA = MetaData()
SHELF = Table("shelf", METADATA, Column("name", String, primary_key=True), Column("books", Integer))
BOOK = Table(
    "book",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("title", String, nullable=False, unique=True),
    Column("cover", LargeBinary),
    Column("time", UtcDateTime),
)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        async with opened.transaction() as connection:
            await connection.run_sync(METADATA.create_all)
        yield opened


def books(*titles: str) -> list[dict[str, Any]]:
    return [{"title": title, "cover": title.encode(), "time": NOON} for title in titles]


def shelves(**counts: int) -> Rows:
    rows = [{"name": name, "books": count} for name, count in counts.items()]
    return Rows(SHELF, rows, key=("name",), overwritten=("books",))


async def read(database: Database, table: Table) -> Sequence[Any]:
    async with database.snapshot() as connection:
        rows = await connection.execute(select(table).order_by(*table.primary_key))
        return [tuple(row) for row in rows]


async def test_rows_of_several_tables_are_written_together(database: Database) -> None:
    async with database.transaction() as connection:
        await write_rows(connection, shelves(low=2), Rows(BOOK, books("b", "a")), Rows(BOOK, []))

    assert await read(database, SHELF) == [("low", 2)]
    assert [row[1:] for row in await read(database, BOOK)] == [("b", b"b", NOON), ("a", b"a", NOON)]


async def test_a_row_whose_key_exists_changes_it(database: Database) -> None:
    async with database.transaction() as connection:
        await write_rows(connection, shelves(low=2, high=5))

    async with database.transaction() as connection:
        await write_rows(connection, shelves(low=3, middle=1))

    assert await read(database, SHELF) == [("high", 5), ("low", 3), ("middle", 1)]


async def test_generated_ids_follow_the_order_of_the_rows(database: Database) -> None:
    titles = [f"{number}" for number in range(500, 0, -1)]

    async with database.transaction() as connection:
        await insert_rows(connection, BOOK, books(*titles))

    assert [row[1] for row in await read(database, BOOK)] == titles


async def test_nothing_is_written_where_one_row_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.transaction() as connection:
            await write_rows(connection, shelves(low=2), Rows(BOOK, books("a", "a")))

    assert await read(database, SHELF) == []
    assert await read(database, BOOK) == []


async def test_no_rows_are_no_statement(database: Database) -> None:
    async with database.transaction() as connection:
        await write_rows(connection)
        await insert_rows(connection, BOOK, [])

    assert await read(database, BOOK) == []
