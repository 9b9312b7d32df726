"""Holds the writes of a transaction back and sends them together, before the next read or the commit.

A statement through SQLAlchemy and aiosqlite changes threads four times, which takes longer than SQLite does
with a dozen rows. Writes whose results nobody reads can go one behind the other instead, a change each.
"""

import asyncio
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mltrainer_common.database import DatabaseDialect
from sqlalchemy.dialects.sqlite import aiosqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator

_MAX_STATEMENTS = 64


class SqlSession:
    """A connection inside a transaction.

    `execute` sees everything written before it; whoever commits calls `flush` first.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self._pending: list[tuple[Any, Sequence[Mapping[str, Any]]]] = []

    def write(self, statement: Any, *records: Mapping[str, Any]) -> None:
        """Executes a statement for each record, some time before the next read or the commit.

        Statements are constants of their module: each is compiled once.
        """
        if records:
            self._pending.append((statement, records))

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        """Executes a statement at once and returns its result."""
        await self.flush()
        return await self.connection.execute(statement, parameters)

    async def fetch(self, statement: Any, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Executes a constant of its module at once and returns its records, with its columns' names."""
        await self.flush()
        if self.connection.dialect.name != DatabaseDialect.SQLITE:
            return (await self.connection.execute(statement, dict(parameters))).all()
        one = _prepared(statement, tuple(parameters))
        driver = await self._driver()
        try:
            found = await driver.execute_fetchall(one.text, one.line(parameters))
        except sqlite3.Error as error:
            raise DBAPIError(one.text, None, error) from error
        return one.records(found)

    async def flush(self) -> None:
        """Sends what was held back, in order."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        if self.connection.dialect.name != DatabaseDialect.SQLITE:
            for statement, records in pending:
                await self.connection.execute(statement, list(records))
            return
        driver = await self._driver()
        prepared = [_prepared(statement, tuple(records[0])) for statement, records in pending]
        # The driver's thread takes them in this order; none is left running when this ends.
        results = await asyncio.gather(
            *(
                driver.executemany(one.text, [one.line(record) for record in records])
                for one, (_, records) in zip(prepared, pending, strict=True)
            ),
            return_exceptions=True,
        )
        for one, result in zip(prepared, results, strict=True):
            if isinstance(result, sqlite3.Error):
                raise DBAPIError(one.text, None, result) from result
            if isinstance(result, BaseException):
                raise result

    async def _driver(self) -> Any:
        return (await self.connection.get_raw_connection()).driver_connection


_Converters = tuple[tuple[int, Callable[[Any], Any]], ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement as SQLite gets it, how a record becomes its line of parameters, and a line a record."""

    text: str
    names: tuple[str, ...]
    to_sql: _Converters
    record: Any
    to_python: _Converters

    def line(self, record: Mapping[str, Any]) -> list[Any]:
        return _converted([record[name] for name in self.names], self.to_sql)

    def records(self, lines: Iterable[Iterable[Any]]) -> list[Any]:
        return [self.record(*_converted(list(line), self.to_python)) for line in lines]


def _converted(line: list[Any], converters: _Converters) -> list[Any]:
    for place, convert in converters:
        line[place] = convert(line[place])
    return line


@lru_cache(maxsize=_MAX_STATEMENTS)
def _prepared(statement: Any, columns: tuple[str, ...]) -> _Prepared:
    dialect: Any = aiosqlite.dialect()
    compiled = statement.compile(dialect=dialect, column_keys=list(columns))
    names = tuple(compiled.positiontup)
    found = list(getattr(statement, "exported_columns", ()))
    given = [_own_type(compiled.binds[name].type, dialect) for name in names]
    returned = [_own_type(column.type, dialect) for column in found]
    return _Prepared(
        compiled.string,
        names,
        _converters([kind and kind.bind_processor(dialect) for kind in given]),
        namedtuple("Record", [column.name for column in found], rename=True),  # noqa: PYI024 - made at run time
        _converters([kind and kind.result_processor(dialect, None) for kind in returned]),
    )


def _own_type(kind: Any, dialect: Any) -> Any:
    # Numbers, texts, bytes and truth values are taken and given by the driver as they are.
    return kind.dialect_impl(dialect) if isinstance(kind, TypeDecorator) else None


def _converters(found: Sequence[Callable[[Any], Any] | None]) -> _Converters:
    return tuple((place, convert) for place, convert in enumerate(found) if convert is not None)
