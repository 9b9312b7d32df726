"""Prints what commands found: tables for people, JSON for programs, errors for both."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mltrainer_cli.options import Output

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {
    "ready": "green",
    "ok": "green",
    "starting": "yellow",
    "waiting": "yellow",
    "preparing": "yellow",
    "warning": "yellow",
    "restarting": "red",
    "failed": "red",
    "stopped": "dim",
    "stopping": "dim",
}


def console() -> "Console":
    """Returns the terminal that results go to."""
    from rich.console import Console

    return Console(highlight=False)


def print_json(content: object) -> None:
    """Prints one JSON document."""
    sys.stdout.write(json.dumps(content, indent=2, default=str) + "\n")


def print_rows(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], output: Output, *, title: str | None = None
) -> None:
    """Prints records: all their fields as a JSON list, or the named columns as a table."""
    if output is Output.JSON:
        print_json(list(rows))
        return
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(*(column.replace("_", " ") for column in columns), title=title, box=SIMPLE)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console().print(table)


def print_fields(fields: Mapping[str, Any], output: Output, *, title: str | None = None) -> None:
    """Prints one record: a JSON object, or one line for each field."""
    if output is Output.JSON:
        print_json(fields)
        return
    rows = [{"field": name.replace("_", " "), "value": value} for name, value in fields.items()]
    print_rows(rows, ("field", "value"), output, title=title)


def print_line(text: str, output: Output = Output.TABLE) -> None:
    """Prints one sentence for people; a program that asked for JSON does not see it."""
    if output is Output.TABLE:
        sys.stdout.write(text + "\n")


def print_error(sentence: str) -> None:
    """Prints why a command failed and what to do, on standard error."""
    sys.stderr.write(f"mltrainer: {sentence}\n")


def _cell(value: object) -> str:
    from rich.markup import escape

    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
        case str() if style := STYLES.get(value):
            return f"[{style}]{value}[/]"
        case _:
            return escape(str(value))
