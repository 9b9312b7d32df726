"""Says where, when and at what price a training would execute, without asking for it."""

from typing import TYPE_CHECKING, Any

from mltrainer_cli.calls import call, short, to_json, to_second
from mltrainer_cli.console import print_json, print_line, print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import Output

if TYPE_CHECKING:
    from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
    from mltrainer.scheduler.v1.resources_pb2 import TrainingSpec


def preview_training(data: DataDirectory, request: "TrainingRequested", output: Output) -> None:
    """Prints the preview of a request.

    Raises:
        CliError: The request would be refused.
    """
    from mltrainer.scheduler.v1.scheduler_service_pb2 import PreviewTrainingRequest

    asked = PreviewTrainingRequest(spec=to_specification(request))
    found = to_json(call(data, lambda client: client.scheduler.PreviewTraining(asked)))
    if output is Output.JSON:
        print_json(found)
    if found["violations"]:
        wrong = "; ".join(f"{item['field']}: {item['description']}" for item in found["violations"])
        raise CliError(f"The request would be refused: {wrong}.", ExitCode.USAGE)
    if output is Output.TABLE:
        for line in lines(found):
            print_line(line)
        if found["shares"]:
            rows = [{**share, "node": short(share["node"])} for share in found["shares"]]
            print_rows(rows, ("node", "workers", "spot"), output, title="placement")


def to_specification(request: "TrainingRequested") -> "TrainingSpec":
    """Returns what a request asks for, without its id."""
    from mltrainer.scheduler.v1.resources_pb2 import TrainingSpec

    fields = {
        field.name: getattr(request, field.name)
        for field, _ in request.ListFields()
        if field.name in TrainingSpec.DESCRIPTOR.fields_by_name
    }
    return TrainingSpec(**fields)


def lines(found: dict[str, Any]) -> list[str]:
    """Says in sentences what is known, and what is not."""
    said = [f"{found['reason']}: {found['message']}."]
    for word, early, late in (
        ("start", "earliest_start_time", "latest_start_time"),
        ("end", "earliest_end_time", "latest_end_time"),
    ):
        if found.get(late):
            said.append(f"Expected to {word} between {to_second(found[early])} and {to_second(found[late])}.")
        else:
            said.append(f"Nothing can be said about its {word}: too few trainings have finished.")
    if found.get("price_usd_per_hour") is not None:
        said.append(f"What it would hold costs {found['price_usd_per_hour']:.4f} USD an hour.")
    if found.get("expected_cost_usd") is not None:
        said.append(f"It is expected to cost {found['expected_cost_usd']:.4f} USD.")
    return said
