"""`mltrainer demo`: the whole platform at work on bundled market data."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mltrainer_cli import stack_control
from mltrainer_cli.console import console, print_json, print_line
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.options import Output, OutputOption

app = typer.Typer()


@app.command()
def demo(
    output: OutputOption = Output.TABLE,
    *,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep the state in this new directory.", metavar="PATH")
    ] = None,
    trace_file: Annotated[
        Path | None,
        typer.Option("--trace-file", help="Write all spans here as OTLP JSON lines.", metavar="FILE"),
    ] = None,
) -> None:
    """Request, schedule, train, register, serve, watch, bill and break a real model; about two minutes."""
    from mltrainer_cli.demo.narrator import narrator
    from mltrainer_cli.demo.report import print_report
    from mltrainer_cli.demo.story import DemoOptions, tell

    on_terminal = output is Output.TABLE and sys.stdout.isatty()
    with _stage(keep) as data, narrator(on_terminal=on_terminal) as narrate:
        facts = asyncio.run(tell(DemoOptions(data, trace_file), narrate))
    if output is Output.JSON:
        print_json(facts.to_json())
        return
    print_report(facts, console())
    if keep:
        print_line(f"The state is kept: `mltrainer up --data-directory {keep}` continues from it.")


@contextmanager
def _stage(keep: Path | None) -> Iterator[DataDirectory]:
    if keep:
        data = DataDirectory(keep.expanduser().absolute())
        with _ended(data):
            yield data
        return
    with tempfile.TemporaryDirectory(prefix="mltrainer-demo-", ignore_cleanup_errors=True) as scratch:
        data = DataDirectory(Path(scratch))
        with _ended(data):
            yield data


@contextmanager
def _ended(data: DataDirectory) -> Iterator[None]:
    try:
        yield
    finally:
        stack_control.stop(data)
