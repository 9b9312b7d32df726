"""Reads recorded workloads from CSV and says which line is wrong."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from mltrainer_cli.errors import CliError, ExitCode


@dataclass(frozen=True, slots=True)
class Column:
    """A column to read; an absent one that is not required reads as empty text."""

    name: str
    number: bool = True
    required: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Columns by name."""

    numbers: dict[str, list[float]]
    texts: dict[str, list[str]]


def read_table(path: Path, columns: Sequence[Column]) -> Table:
    """Returns the columns of a file.

    Raises:
        CliError: The file cannot be read, lacks a column, has no row or a number that is none or below zero.
    """
    table = Table({c.name: [] for c in columns if c.number}, {c.name: [] for c in columns if not c.number})
    lines = 0
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            _check_header(path, rows.fieldnames or (), columns)
            for row in rows:
                lines += 1
                for name in table.texts:
                    table.texts[name].append(row.get(name) or "")
                for name in table.numbers:
                    table.numbers[name].append(_number(path, rows.line_num, row.get(name), name))
    except OSError as error:
        raise CliError.from_os_error(error, "read the trace") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CliError(f"{path} is no CSV in UTF-8: {error}.", ExitCode.USAGE) from None
    if not lines:
        raise CliError(f"{path} has no rows.", ExitCode.USAGE)
    return table


def _check_header(path: Path, names: Sequence[str], columns: Sequence[Column]) -> None:
    missing = [column.name for column in columns if column.required and column.name not in names]
    if missing:
        raise CliError(f"{path} lacks the columns {', '.join(missing)}.", ExitCode.USAGE)


def _number(path: Path, line: int, text: str | None, name: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = -1.0
    if not isfinite(number) or number < 0:
        fault = f"{path}, line {line}: {name} is {text!r}, no number from zero on."
        raise CliError(fault, ExitCode.USAGE)
    return number
