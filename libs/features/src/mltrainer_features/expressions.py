"""A small language of formulas over columns of numbers: parsed, never executed as code.

Names, numbers, `+ - * /`, and the functions of `FUNCTIONS`. A row's result depends on that row alone, and
one row gives the same bits as the same row among many. What is not finite is undefined, NaN.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from mltrainer_features.bars import FeatureError
from mltrainer_features.windows import Floats

MAX_LENGTH = 500
_MAX_DEPTH = 30
_MAX_NUMBER = 1e300
FUNCTIONS: Mapping[str, tuple[int, Callable[..., Floats]]] = {
    "abs": (1, np.abs),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "max": (2, np.maximum),
    "min": (2, np.minimum),
    "sign": (1, np.sign),
    "sqrt": (1, np.sqrt),
}
_OPERATORS: Mapping[type[ast.operator], Callable[..., Floats]] = {
    ast.Add: np.add,
    ast.Div: np.divide,
    ast.Mult: np.multiply,
    ast.Sub: np.subtract,
}


class InvalidExpressionError(FeatureError):
    """A text is no formula of this language."""

    def __init__(self, expression: str, problem: str) -> None:
        self.expression = expression
        self.problem = problem
        super().__init__(f"{expression[:80]!r}: {problem}")


@dataclass(frozen=True, slots=True)
class Expression:
    """A formula, and the names of the columns it reads, in order of appearance."""

    text: str
    names: tuple[str, ...]
    _root: ast.expr

    def evaluate(self, columns: Mapping[str, Floats]) -> Floats:
        """Computes one value for each row; undefined where an input is, or where the result is not finite."""
        columns = {name: np.ascontiguousarray(columns[name], dtype=np.float64) for name in self.names}
        count = len(next(iter(columns.values())))
        with np.errstate(all="ignore"):
            values = np.array(np.broadcast_to(_evaluate(self._root, columns), count), dtype=np.float64)
        is_defined = np.isfinite(values)
        for column in columns.values():
            is_defined &= np.isfinite(column)
        values[~is_defined] = np.nan
        return values


@cache
def parse_expression(text: str) -> Expression:
    """Reads a formula.

    Raises:
        InvalidExpressionError: It is too long, holds anything but the language's parts, or reads no column.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidExpressionError(text, f"is longer than {MAX_LENGTH} characters")
    try:
        root = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidExpressionError(text, "is no formula") from error
    names: dict[str, None] = {}
    _check(text, root, names, 0)
    if not names:
        raise InvalidExpressionError(text, "reads no column")
    return Expression(text, tuple(names), root)


def _check(text: str, node: ast.expr, names: dict[str, None], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidExpressionError(text, "is nested too deeply")
    match node:
        case ast.Name(id=name):
            names[name] = None
        case ast.Constant(value=int() | float() as value) if _is_number(value):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            _check(text, operand, names, depth + 1)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            _check(text, left, names, depth + 1)
            _check(text, right, names, depth + 1)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            if len(arguments) != FUNCTIONS[name][0]:
                raise InvalidExpressionError(text, f"{name} takes {FUNCTIONS[name][0]} arguments")
            for argument in arguments:
                _check(text, argument, names, depth + 1)
        case _:
            raise InvalidExpressionError(
                text, f"only names, numbers, + - * / and {', '.join(FUNCTIONS)} are allowed"
            )


def _is_number(value: float) -> bool:
    return not isinstance(value, bool) and abs(value) < _MAX_NUMBER


def _evaluate(node: ast.expr, columns: Mapping[str, Floats]) -> Any:
    match node:
        case ast.Name(id=name):
            return columns[name]
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]  # checked when it was read
        case ast.UnaryOp(operand=operand):
            return -_evaluate(operand, columns)
        case ast.BinOp(left=left, op=operator, right=right):
            return _OPERATORS[type(operator)](_evaluate(left, columns), _evaluate(right, columns))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name][1](*(_evaluate(argument, columns) for argument in arguments))
    raise AssertionError(node)
