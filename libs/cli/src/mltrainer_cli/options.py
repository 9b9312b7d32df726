"""The options that every command has, declared once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mltrainer_cli.data_directory import DataDirectory


class Output(StrEnum):
    """How a command shows what it found."""

    TABLE = "table"
    JSON = "json"


def _data_directory(path: Path) -> DataDirectory:
    return DataDirectory(path.expanduser().absolute())


DataOption = Annotated[
    DataDirectory,
    typer.Option(
        "--data-directory",
        envvar="MLTRAINER_DATA_DIRECTORY",
        help="Holds all state of one stack.",
        parser=lambda text: _data_directory(Path(text)),
        metavar="PATH",
        default_factory=DataDirectory.default_path,
        show_default="~/.local/share/mltrainer",
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", help="A table to read or JSON for programs.")]
