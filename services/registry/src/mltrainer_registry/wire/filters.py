"""Reads filters (a subset of AIP-160, docs/filters.md) and orders."""

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from mltrainer_registry.domain.errors import InvalidFieldError, InvalidFilterError
from mltrainer_registry.domain.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_FILTER_LENGTH,
    AllOf,
    AnyOf,
    Comparison,
    Expression,
    Not,
    Operator,
    Order,
    Search,
    ValueKind,
    check_comparison,
)

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

# As in AIP-160, OR binds more tightly than AND.
_GRAMMAR = r"""
all: any (_AND any)*
any: factor (_OR factor)*
?factor: (_NOT | "-") factor -> negation
       | "(" all ")"
       | comparison
comparison: NAME ("." (NAME | STRING))* OPERATOR (WORD | STRING)
_AND: /AND(?![A-Za-z0-9_\/-])/
_OR: /OR(?![A-Za-z0-9_\/-])/
_NOT: /NOT(?![A-Za-z0-9_\/-])/
OPERATOR: "!=" | "<=" | ">=" | "=" | "<" | ">" | ":"
STRING: /"(?:[^"\\]|\\.)*"/ | /'(?:[^'\\]|\\.)*'/
NAME: /(?!(?:AND|OR|NOT)(?![A-Za-z0-9_\/-]))[A-Za-z_][A-Za-z0-9_\/-]*/
WORD: /[A-Za-z0-9_*.@\/+-][A-Za-z0-9_*.@\/:+-]*/
%ignore /[ \t\r\n]+/
"""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ORDER = re.compile(r"(?P<field>[a-z_]+)(?:\.(?P<key>[a-z][a-z0-9_]{0,62}))?(?: +(?P<way>asc|desc))?")
_EXPECTED = {
    "NAME": "the name of a field",
    "OPERATOR": "a comparison such as =",
    "WORD": "a value",
    "STRING": "a text in quotes",
    "_AND": "AND",
    "_OR": "OR",
    "_NOT": "NOT",
    "LPAR": "(",
    "RPAR": ")",
    "DOT": ".",
    "MINUS": "-",
    "$END": "the end",
}


def to_search(
    text: str, order_by: str, *, fields: Mapping[str, ValueKind], orders: frozenset[str], default: Order
) -> Search:
    """Reads a filter and an order.

    Raises:
        InvalidFilterError: The filter does not follow the grammar, or asks for what makes no sense.
        InvalidFieldError: The order is none of those that there are.
    """
    expression = parse_filter(text, fields)
    order = _order(order_by, orders) if order_by else default
    return Search(expression, order, f"{text}\n{order.field}.{order.key}.{order.descending}")


def parse_filter(text: str, fields: Mapping[str, ValueKind]) -> Expression | None:
    """Reads a filter; an empty one asks for everything."""
    if len(text) > MAX_FILTER_LENGTH:
        raise InvalidFilterError(
            MAX_FILTER_LENGTH + 1, f"has {len(text)} characters, more than {MAX_FILTER_LENGTH}"
        )
    if not text.strip():
        return None
    from lark import UnexpectedCharacters, UnexpectedToken

    try:
        tree = _parser().parse(text)
    except UnexpectedToken as error:
        where = len(text) if error.token.type == "$END" else (error.pos_in_stream or 0)
        found = "ends" if error.token.type == "$END" else f"has {str(error.token)[:50]!r}"
        raise _unexpected(where, found, error.accepts or error.expected) from error
    except UnexpectedCharacters as error:
        where = error.pos_in_stream or 0
        raise _unexpected(where, f"has {text[where]!r}", error.allowed or set()) from error
    reader = _Reader(fields)
    return reader.read(tree, 0)


def _unexpected(where: int, found: str, expected: set[str]) -> InvalidFilterError:
    names = sorted({_EXPECTED[name] for name in expected if name in _EXPECTED})
    wanted = f" where it needs {' or '.join(names)}" if names else ", which has no meaning"
    return InvalidFilterError(where + 1, f"{found}{wanted}")


@cache
def _parser() -> "Lark":
    # Most processes never read a filter.
    from lark import Lark

    return Lark(_GRAMMAR, start="all", parser="lalr", lexer="contextual", propagate_positions=True)


class _Reader:
    """Turns a parse tree into an expression whose every condition makes sense."""

    def __init__(self, fields: Mapping[str, ValueKind]) -> None:
        self._fields = fields
        self._count = 0

    def read(self, tree: "Tree[Token]", depth: int) -> Expression:
        """Reads one node."""
        if depth > MAX_DEPTH:
            position = (getattr(tree.meta, "start_pos", 0) or 0) + 1
            raise InvalidFilterError(position, f"nests more than {MAX_DEPTH} levels deep")
        if tree.data == "comparison":
            return self._comparison(tree)
        parts: tuple[Any, ...] = tuple(self.read(part, depth + 1) for part in _trees(tree))
        if tree.data == "negation":
            return Not(parts[0])
        if len(parts) == 1:
            only: Expression = parts[0]
            return only
        return AllOf(parts) if tree.data == "all" else AnyOf(parts)

    def _comparison(self, tree: "Tree[Token]") -> Comparison:
        *path, operator, value = (str(token) for token in tree.children)
        position = (getattr(tree.meta, "start_pos", 0) or 0) + 1
        self._count += 1
        if self._count > MAX_CONDITIONS:
            raise InvalidFilterError(position, f"has more than {MAX_CONDITIONS} conditions")
        names = tuple(map(_unquoted, path))
        comparison = Comparison(names, Operator(operator), _unquoted(value), position)
        _ = check_comparison(comparison, self._fields)
        return comparison


def _trees(tree: "Tree[Token]") -> list["Tree[Token]"]:
    from lark import Tree as LarkTree

    return [part for part in tree.children if isinstance(part, LarkTree)]


def _unquoted(text: str) -> str:
    if text[0] not in "\"'":
        return text
    return _ESCAPE.sub(r"\1", text[1:-1])


def _order(text: str, orders: frozenset[str]) -> Order:
    match = _ORDER.fullmatch(text.strip()) if len(text) <= MAX_FILTER_LENGTH else None
    known = ", ".join(sorted(orders))
    if match is None or match["field"] not in orders:
        raise InvalidFieldError("order_by", f"is {text[:100]!r}; use one of {known}, with ' desc' or without")
    if (match["field"] == "metrics") != (match["key"] is not None):
        raise InvalidFieldError("order_by", "needs metrics.{name}, and no name after another field")
    return Order(match["field"], match["key"] or "", match["way"] == "desc")
