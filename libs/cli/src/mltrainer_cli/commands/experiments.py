"""`mltrainer experiments`: split the traffic of a model between two aliases and see which one is better."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mltrainer_cli.console import print_fields, print_json, print_line, print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.experiment.v1.resources_pb2 import Experiment, ExperimentResult
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)
T = TypeVar("T")

_COLUMNS = ("name", "state", "model", "metric", "decision", "start_time", "end_time")
_ARM_COLUMNS = ("variant", "alias", "weight")
_RESULT_COLUMNS = ("variant", "exposed_units", "outcome_count", "mean", "standard_error")
ExperimentArgument = Annotated[
    str, typer.Argument(help="As `experiments list` shows it.", metavar="EXPERIMENT")
]


@app.command()
def create(
    data: DataOption,
    experiment: Annotated[str, typer.Argument(help="Id of the new experiment.", metavar="ID")],
    output: OutputOption = Output.TABLE,
    *,
    model: Annotated[str, typer.Option(help="Model whose aliases compete.")],
    control: Annotated[str, typer.Option(help="Alias that units have today.")] = "champion",
    challenger: Annotated[str, typer.Option(help="Alias that may be better.")] = "challenger",
    metric: Annotated[str, typer.Option(help="Outcome that decides; smaller is better.")] = "squared_error",
    share: Annotated[
        float, typer.Option(min=0.001, max=0.999, help="Share of the exposed units for the challenger.")
    ] = 0.5,
    traffic: Annotated[float, typer.Option(min=0.001, max=1, help="Share of units that take part.")] = 1.0,
    alpha: Annotated[float, typer.Option(help="Chance of a false decision over all looks.")] = 0.05,
    max_loss: Annotated[
        float, typer.Option("--max-loss", min=0, help="Roll back early when surely worse by more; 0: off.")
    ] = 0.0,
    start_now: Annotated[bool, typer.Option("--start", help="Start it at once.")] = False,
) -> None:
    """Define an experiment between two aliases of a model."""
    from mltrainer.experiment.v1.resources_pb2 import Experiment, Variant

    definition = Experiment(
        model=model if model.startswith("models/") else f"models/{model}",
        variants=[
            Variant(variant=control, alias=control, weight=1.0 - share),
            Variant(variant=challenger, alias=challenger, weight=share),
        ],
        metric=metric,
        traffic=traffic,
        alpha=alpha,
        max_loss=max_loss,
    )
    found = _call(data, lambda client: _create(client, experiment, definition, start_now=start_now))
    _print_experiment(found, output)


@app.command()
def start(data: DataOption, experiment: ExperimentArgument, output: OutputOption = Output.TABLE) -> None:
    """Start to assign units; one experiment of a model at a time."""
    from mltrainer.experiment.v1.experiment_service_pb2 import StartExperimentRequest

    request = StartExperimentRequest(name=_name(experiment))
    _print_experiment(_call(data, lambda client: client.experiment.StartExperiment(request)), output)


@app.command()
def stop(data: DataOption, experiment: ExperimentArgument, output: OutputOption = Output.TABLE) -> None:
    """End an experiment without a winner; everybody gets the control again."""
    from mltrainer.experiment.v1.experiment_service_pb2 import StopExperimentRequest

    request = StopExperimentRequest(name=_name(experiment))
    _print_experiment(_call(data, lambda client: client.experiment.StopExperiment(request)), output)


@app.command()
def show(data: DataOption, experiment: ExperimentArgument, output: OutputOption = Output.TABLE) -> None:
    """Show an experiment and its arms."""
    from mltrainer.experiment.v1.experiment_service_pb2 import GetExperimentRequest

    request = GetExperimentRequest(name=_name(experiment))
    _print_experiment(_call(data, lambda client: client.experiment.GetExperiment(request)), output)


@app.command()
def result(data: DataOption, experiment: ExperimentArgument, output: OutputOption = Output.TABLE) -> None:
    """Say what is known so far; valid however often you look."""
    from mltrainer.experiment.v1.experiment_service_pb2 import GetExperimentResultRequest

    request = GetExperimentResultRequest(name=_name(experiment))
    found = result_to_json(_call(data, lambda client: client.experiment.GetExperimentResult(request)))
    if output is Output.JSON:
        print_json(found)
        return
    print_rows(found.pop("variants"), _RESULT_COLUMNS, output)
    explanation = found.pop("explanation")
    print_fields(found, output)
    print_line(explanation)


@app.command("list")
def list_experiments(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List experiments by name."""
    found = _call(data, lambda client: _list(client, limit))
    print_rows([experiment_to_json(one) for one in found], _COLUMNS, output)


def experiment_to_json(experiment: "Experiment") -> dict[str, Any]:
    """Returns an experiment as a JSON object with every field."""
    fields = _to_json(experiment)
    fields["state"] = fields["state"].removeprefix("STATE_")
    fields["revision"] = experiment.revision  # protobuf writes 64-bit numbers as texts
    return fields


def result_to_json(found: "ExperimentResult") -> dict[str, Any]:
    """Returns a result as a JSON object; ends of the interval that are not known yet are null."""
    fields = _to_json(found)
    for end in ("effect_lower", "effect_upper"):
        if isinstance(fields[end], str):  # JSON has no infinity: protobuf writes a text
            fields[end] = None
    for variant in fields["variants"]:
        variant.update({count: int(variant[count]) for count in ("exposed_units", "outcome_count")})
    return fields


def _to_json(message: "Experiment | ExperimentResult") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    fields: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def _print_experiment(experiment: "Experiment", output: Output) -> None:
    fields = experiment_to_json(experiment)
    if output is Output.JSON:
        print_json(fields)
        return
    variants = fields.pop("variants")
    print_fields(fields, output)
    print_rows(variants, _ARM_COLUMNS, output, title="arms, control first")


async def _create(
    client: "Client", experiment_id: str, definition: "Experiment", *, start_now: bool
) -> "Experiment":
    from mltrainer.experiment.v1 import experiment_service_pb2 as api
    from mltrainer_common.ids import new_id

    request = api.CreateExperimentRequest(
        experiment_id=experiment_id, experiment=definition, request_id=new_id()
    )
    created = await client.experiment.CreateExperiment(request)
    if not start_now:
        return created
    return await client.experiment.StartExperiment(api.StartExperimentRequest(name=created.name))


async def _list(client: "Client", limit: int) -> list["Experiment"]:
    from mltrainer.experiment.v1.experiment_service_pb2 import ListExperimentsRequest

    found: list[Experiment] = []
    token = ""
    while True:
        request = ListExperimentsRequest(page_size=min(limit - len(found), 1_000), page_token=token)
        page = await client.experiment.ListExperiments(request)
        found.extend(page.experiments)
        token = page.next_page_token
        if not token or len(found) >= limit:
            return found


def _name(experiment: str) -> str:
    return experiment if experiment.startswith("experiments/") else f"experiments/{experiment}"


def _call(data: DataDirectory, ask: Callable[["Client"], Awaitable[T]]) -> T:
    async def run() -> T:
        from mltrainer_common.authorization import Role
        from mltrainer_sdk import Client

        subject = f"users/{getpass.getuser()}"
        async with Client.connect(data.path, subject=subject, roles=[Role.OPERATOR]) as client:
            return await ask(client)

    return asyncio.run(run())
