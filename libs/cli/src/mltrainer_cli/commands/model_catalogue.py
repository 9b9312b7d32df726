"""`mltrainer models catalogue`: the models that trainings can name."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import call, to_json
from mltrainer_cli.console import print_json, print_line, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.trainer.v1.resources_pb2 import CatalogueEntry
    from mltrainer_sdk import Client

_COLUMNS = ("id", "family", "task", "targets", "serving", "min_rows", "usable")
_PAGE_SIZE = 1_000


def add_commands(app: typer.Typer) -> None:
    """Adds the command of this module to `models`."""
    app.command()(catalogue)


def catalogue(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    task: Annotated[str, typer.Option(help="Such as `regression` or `volatility`.")] = "",
    family: Annotated[str, typer.Option(help="Such as `linear-models`.")] = "",
    usable: Annotated[bool, typer.Option("--usable", help="Only those whose library is installed.")] = False,
) -> None:
    """List the models that trainings can name, and what those need that cannot be used here."""
    entries = [to_json(entry) for entry in call(data, _entries)]
    _require_known(task.upper(), "task", {entry["task"] for entry in entries})
    _require_known(family, "family", {entry["family"] for entry in entries})
    found = [
        entry
        for entry in entries
        if (not task or entry["task"] == task.upper())
        and (not family or entry["family"] == family)
        and not (usable and entry["unavailable_reason"])
    ]
    if output is Output.JSON:
        print_json(found)
        return
    print_rows(map(_row, found), _COLUMNS, output)
    for reason in sorted({entry["unavailable_reason"] for entry in found} - {""}):
        print_line(reason, output)


def _require_known(value: str, option: str, known: set[str]) -> None:
    if value and value not in known:
        listed = ", ".join(sorted(known)).lower()
        raise CliError(f"The catalogue has no {option} {value!r}; it has {listed}.", ExitCode.USAGE)


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    targets = (kind.lower() for kind in entry["target_kinds"])
    return {
        **entry,
        "task": entry["task"].lower(),
        "targets": ", ".join(targets),
        "serving": "row by row" if entry["serves_row_by_row"] else "batch",
        "usable": "no" if entry["unavailable_reason"] else "yes",
    }


async def _entries(client: "Client") -> "list[CatalogueEntry]":
    from mltrainer.trainer.v1.trainer_service_pb2 import ListCatalogueEntriesRequest

    found: list[CatalogueEntry] = []
    token = ""
    while True:
        request = ListCatalogueEntriesRequest(page_size=_PAGE_SIZE, page_token=token)
        page = await client.trainer.ListCatalogueEntries(request)
        found.extend(page.catalogue_entries)
        token = page.next_page_token
        if not token:
            return found
