"""Finds models and versions by filters, in an order, page by page.

Pages continue after the last key: what appears meanwhile makes nothing else appear twice or not at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mltrainer_common.database import Database, UtcDateTime
from sqlalchemy import ColumnElement, Float, Integer, Select, and_, case, func, literal, or_, select

from mltrainer_registry.adapters import queries, tables
from mltrainer_registry.adapters.facts import METRIC, finite
from mltrainer_registry.adapters.filter_compiler import FilterCompiler
from mltrainer_registry.adapters.pages import page_of, read_cursor
from mltrainer_registry.adapters.rows import read_version
from mltrainer_registry.application.paging import Page
from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.domain.filters import MODEL_FIELDS, VERSION_FIELDS, Order, Search
from mltrainer_registry.domain.versions import Model, ModelVersion


@dataclass(frozen=True, slots=True)
class _Key:
    """One column that a list is sorted by, and the value of an item there."""

    column: Any
    value: Callable[[Any], Any]
    descending: bool = False


@dataclass(frozen=True, slots=True)
class SqlSearch:
    """Reads committed state only."""

    database: Database

    async def models(self, search: Search, limit: int, cursor: str) -> Page[Model]:
        """Returns the models that a filter asks for."""
        table = tables.model
        compiler = FilterCompiler(self.database.dialect, table, MODEL_FIELDS)
        keys = _model_keys(search.order, compiler)
        statement = _paged(select(table).where(compiler.where(search.expression)), keys, search.text, cursor)
        async with self.database.snapshot() as connection:
            found = await queries.find_models(connection, statement.limit(limit + 1))
        return page_of(found, limit, search.text, lambda model: _cursor_key(keys, model))

    async def versions(
        self, model: str | None, search: Search, limit: int, cursor: str
    ) -> Page[ModelVersion]:
        """Returns the versions that a filter asks for, of one model or of all."""
        table, query = tables.model_version, f"{model}\n{search.text}"
        compiler = FilterCompiler(self.database.dialect, table, VERSION_FIELDS)
        statement = select(table).where(compiler.where(search.expression))
        if model is not None:
            statement = statement.where(table.c.model == model)
        if search.order.field == "metrics":
            statement = statement.outerjoin(tables.fact, _metric_of(search.order.key))
        keys = _version_keys(search.order, compiler)
        paged = _paged(statement, keys, query, cursor).limit(limit + 1)
        async with self.database.snapshot() as connection:
            found = [read_version(row) for row in await connection.execute(paged)]
        return page_of(found, limit, query, lambda version: _cursor_key(keys, version))


def _model_keys(order: Order, compiler: FilterCompiler) -> list[_Key]:
    table, down = tables.model, order.descending
    name = _Key(compiler.binary(table.c.model), lambda model: model.model, down)
    others = {
        "create_time": _Key(table.c.create_time, lambda model: model.create_time, down),
        "version_count": _Key(table.c.version_count, lambda model: model.version_count, down),
    }
    return [others[order.field], name] if order.field in others else [name]


def _version_keys(order: Order, compiler: FilterCompiler) -> list[_Key]:
    table, down = tables.model_version, order.descending
    model = _Key(compiler.binary(table.c.model), lambda version: version.name.model, down)
    number = _Key(table.c.number, lambda version: version.name.number, down)
    if order.field == "create_time":
        return [_Key(table.c.create_time, lambda version: version.create_time, down), model, number]
    if order.field == "number":
        return [number, model]
    if order.field == "metrics":
        amount = tables.fact.c.amount
        is_missing = case((amount.is_(None), literal(1, Integer())), else_=literal(0, Integer()))
        # Versions without the metric come last, whichever way the others go.
        return [
            _Key(is_missing, lambda version: int(finite(version.result.metric(order.key)) is None)),
            _Key(
                func.coalesce(amount, literal(0.0, Float())),
                lambda version: finite(version.result.metric(order.key)) or 0.0,
                down,
            ),
            model,
            number,
        ]
    return [model, number]


def _metric_of(name: str) -> ColumnElement[bool]:
    version, fact = tables.model_version, tables.fact
    same = and_(fact.c.model == version.c.model, fact.c.number == version.c.number)
    return and_(same, fact.c.kind == METRIC, fact.c.name == name)


def _cursor_key(keys: Sequence[_Key], item: Any) -> list[Any]:
    values = [key.value(item) for key in keys]
    return [value.isoformat() if isinstance(value, datetime) else value for value in values]


def _paged(statement: Select[Any], keys: Sequence[_Key], query: str, cursor: str) -> Select[Any]:
    last = read_cursor(cursor, query, [_cursor_type(key.column.type) for key in keys])
    if last is not None:
        values = [_bound(key.column, value) for key, value in zip(keys, last, strict=True)]
        statement = statement.where(_after(keys, values))
    return statement.order_by(*(key.column.desc() if key.descending else key.column.asc() for key in keys))


def _cursor_type(column_type: Any) -> type:
    python_type: type = str if isinstance(column_type, UtcDateTime) else column_type.python_type
    return python_type


def _bound(column: Any, value: Any) -> Any:
    if not isinstance(column.type, UtcDateTime):
        return literal(value, column.type)
    try:
        return literal(datetime.fromisoformat(value), column.type)
    except ValueError as error:
        raise InvalidFieldError("page_token", "is not the next_page_token of this list") from error


def _after(keys: Sequence[_Key], values: Sequence[Any]) -> ColumnElement[bool]:
    """Asks for what comes after a key: beyond it in the first column that differs."""
    reached: list[ColumnElement[bool]] = []
    alternatives: list[ColumnElement[bool]] = []
    for key, value in zip(keys, values, strict=True):
        beyond = key.column < value if key.descending else key.column > value
        alternatives.append(and_(*reached, beyond))
        reached.append(key.column == value)
    return or_(*alternatives)
