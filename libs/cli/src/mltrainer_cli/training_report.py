"""Writes the report of a training, and says why a known result was not taken."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrainer_cli.calls import call, full_name, short, to_json
from mltrainer_cli.console import print_json, print_line, print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError
from mltrainer_cli.options import Output

if TYPE_CHECKING:
    from mltrainer_sdk import Client

    from mltrainer_cli.report_facts import ReportFacts

_DIFFERENCE_COLUMNS = ("field", "value", "other_value", "meaning")


def write_report(data: DataDirectory, training: str, path: Path | None, output: Output) -> None:
    """Writes the page of a training; beside what calls it where no path is given."""
    from mltrainer_cli.report_page import render

    facts = call(data, lambda client: _collect(client, training))
    target = path or Path(f"{short(facts.training.name)}.html")
    try:
        target.write_text(render(facts, datetime.now(UTC)), encoding="utf-8")
    except OSError as error:
        raise CliError.from_os_error(error, "write the report") from None
    if output is Output.JSON:
        print_json({"training": facts.training.name, "path": str(target)})
    else:
        print_line(f"The report is in {target}.")


async def _collect(client: "Client", text: str) -> "ReportFacts":
    from mltrainer_cli.commands.train import find_training
    from mltrainer_cli.report_facts import collect

    return await collect(client, await find_training(client, text))


def explain_miss(data: DataDirectory, training: str, against: str, output: Output) -> None:
    """Shows every input in which a training differs from another, or from the nearest with a result."""
    found = to_json(call(data, lambda client: _explain_miss(client, training, against)))
    if output is Output.JSON:
        print_json(found)
        return
    print_line(f"{found['training']}: {found['message']}.")
    if found["differences"]:
        title = f"compared with {found['against']}"
        print_rows(found["differences"], _DIFFERENCE_COLUMNS, output, title=title)


async def _explain_miss(client: "Client", training: str, against: str) -> Any:
    from mltrainer.scheduler.v1.scheduler_service_pb2 import ExplainMissRequest

    from mltrainer_cli.commands.train import find_training

    found = await find_training(client, training)
    other = (await find_training(client, against)).name if against else ""
    return await client.scheduler.ExplainMiss(
        ExplainMissRequest(name=found.name, against=full_name("trainings", other) if other else "")
    )
