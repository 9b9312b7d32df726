"""Turns filters into SQL expressions with bound parameters, so that SQLite and PostgreSQL answer alike."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from mltrainer_common.database import DatabaseDialect
from sqlalchemy import (
    ColumnElement,
    Float,
    String,
    and_,
    cast,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
)

from mltrainer_registry.adapters import tables
from mltrainer_registry.adapters.facts import LINEAGE, METRIC, OF_MODEL, TAG
from mltrainer_registry.domain.filters import (
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Expression,
    Not,
    Operator,
    ValueKind,
    check_comparison,
)

_COMPARE: Mapping[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
}
_GLOB = str.maketrans({"[": "[[]", "?": "[?]"})
_LIKE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_", "*": "%"})


@dataclass(frozen=True, slots=True)
class FilterCompiler:
    """Compiles filters about versions, or about models."""

    dialect: DatabaseDialect
    table: Any
    fields: Mapping[str, ValueKind]

    def where(self, expression: Expression | None) -> ColumnElement[bool]:
        """Compiles a filter; none asks for everything."""
        match expression:
            case None:
                return true()
            case Comparison():
                return self._condition(check_comparison(expression, self.fields))
            case AllOf(parts=parts):
                return and_(*(self.where(part) for part in parts))
            case AnyOf(parts=parts):
                return or_(*(self.where(part) for part in parts))
            case Not(part=part):
                return not_(self.where(part))
            case _:
                assert_never(expression)

    def binary(self, column: Any) -> Any:
        """Sorts and compares a text by its bytes: the order of PostgreSQL depends on its installation."""
        return column.collate("C") if self.dialect is DatabaseDialect.POSTGRESQL else column

    def _condition(self, condition: Condition) -> ColumnElement[bool]:
        match condition.kind:
            case ValueKind.TEXT:
                compiled = self._text(self._column(condition.field), condition)
            case ValueKind.NUMBER | ValueKind.TIME | ValueKind.STATE | ValueKind.VERDICT:
                compiled = self._compared(self._column(condition.field), condition)
            case ValueKind.SET if condition.field == "alias":
                compiled = self._alias(condition)
            case ValueKind.SET:
                wanted = self._text(tables.fact.c.value, condition)
                compiled = self._fact(LINEAGE, condition.field, wanted)
            case ValueKind.METRICS:
                compiled = self._fact(METRIC, condition.key, self._compared(tables.fact.c.amount, condition))
            case ValueKind.TAGS:
                compiled = self._tag(condition)
            case _:
                assert_never(condition.kind)
        return compiled

    def _column(self, field: str) -> Any:
        if field == "name":
            name = literal("models/", String()) + self.table.c.model
            if "number" in self.table.c:
                name = name + "/versions/" + cast(self.table.c.number, String)
            return name
        return self.table.c["target_kind" if field == "target" else field]

    def _compared(self, column: Any, condition: Condition) -> ColumnElement[bool]:
        # Without its type, the driver of PostgreSQL refuses 1.5 beside a column of integers.
        value = condition.value
        bound = literal(value, Float()) if isinstance(value, float) else value
        compared: ColumnElement[bool] = _COMPARE[condition.operator](column, bound)
        return compared

    def _text(self, column: Any, condition: Condition) -> ColumnElement[bool]:
        wanted = str(condition.value)
        if condition.operator is Operator.HAS and condition.kind is not ValueKind.SET:
            wanted = f"*{wanted}*"
        matching = self._matches(column, wanted)
        return not_(matching) if condition.operator is Operator.NOT_EQUAL else matching

    def _matches(self, column: Any, wanted: str) -> ColumnElement[bool]:
        matching: ColumnElement[bool]
        if "*" not in wanted:
            matching = column == wanted
        elif self.dialect is DatabaseDialect.SQLITE:
            # Not LIKE, which ignores case there.
            matching = column.op("GLOB", is_comparison=True)(wanted.translate(_GLOB))
        else:
            matching = column.like(wanted.translate(_LIKE), escape="\\")
        return matching

    def _tag(self, condition: Condition) -> ColumnElement[bool]:
        if not condition.key:
            return self._fact(TAG, None, self._matches(tables.fact.c.name, str(condition.value)))
        wanted = str(condition.value)
        if condition.operator is Operator.HAS:
            return self._fact(TAG, condition.key, self._matches(tables.fact.c.value, f"*{wanted}*"))
        found = self._fact(TAG, condition.key, self._matches(tables.fact.c.value, wanted))
        return not_(found) if condition.operator is Operator.NOT_EQUAL else found

    def _fact(self, kind: str, name: str | None, wanted: ColumnElement[bool]) -> ColumnElement[bool]:
        fact = tables.fact
        here = (
            [fact.c.kind == kind, wanted]
            if name is None
            else [fact.c.kind == kind, fact.c.name == name, wanted]
        )
        return self._among(fact, here)

    def _alias(self, condition: Condition) -> ColumnElement[bool]:
        alias = tables.alias
        return self._among(alias, [self._matches(alias.c.alias, str(condition.value))])

    def _among(self, found: Any, here: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
        """Asks whether something was found about the row.

        Not EXISTS: SQLite would look again for every row, by whichever index it guesses.
        """
        among: ColumnElement[bool]
        if "number" in self.table.c:
            pairs = select(found.c.model, found.c.number).where(*here)
            among = tuple_(self.table.c.model, self.table.c.number).in_(pairs)
        else:
            own = [*here, found.c.number == OF_MODEL] if found is tables.fact else here
            among = self.table.c.model.in_(select(found.c.model).where(*own))
        return among
