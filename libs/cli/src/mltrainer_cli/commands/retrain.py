"""`mltrainer retrain`: trainings that a calendar or drift asks for, and the challengers that come of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import all_pages, call, full_name, short, to_json, to_second
from mltrainer_cli.console import print_fields, print_json, print_line, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.scheduler.v1.resources_pb2 import TrainingSpec
    from mltrainer.trainer.v1.retraining_service_pb2 import Retraining, RetrainingRun
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("retraining", "schedule", "calendar", "on_drift", "paused", "next_run_time", "model")
_RUN_COLUMNS = ("run", "cause", "state", "due_time", "training", "experiment", "message")
_HIDDEN = ("spec", "etag")
NameArgument = Annotated[str, typer.Argument(help="Name or id of the retraining.", metavar="RETRAINING")]


@app.command()
def create(
    data: DataOption,
    retraining: NameArgument,
    file: Annotated[Path, typer.Argument(help="YAML or JSON with the fields of a training request.")],
    output: OutputOption = Output.TABLE,
    *,
    schedule: Annotated[
        str, typer.Option(help="Minute, hour, day, month, day of week, such as `30 17 * * 5`.")
    ] = "",
    time_zone: Annotated[str, typer.Option(help="Of the schedule.")] = "America/New_York",
    calendar: Annotated[
        str, typer.Option(help="Exchange whose trading days count, such as XNYS; ALL for every day.")
    ] = "XNYS",
    on_drift: Annotated[bool, typer.Option("--on-drift", help="A drift of the model begins a run.")] = False,
    test_days: Annotated[int, typer.Option(min=1, help="Days out of sample.")] = 730,
    traffic: Annotated[
        float, typer.Option(min=0, max=1, help="Share of units that compare champion and challenger.")
    ] = 0.0,
    cooldown_s: Annotated[float, typer.Option(min=1, help="Least seconds between two runs.")] = 86_400.0,
    champion: Annotated[str, typer.Option(help="Alias of the model in force.")] = "champion",
    challenger: Annotated[str, typer.Option(help="Alias that each run proposes.")] = "challenger",
) -> None:
    """Have a training asked for again and again; its times follow each run."""
    from mltrainer.trainer.v1.retraining_service_pb2 import CreateRetrainingRequest, Retraining

    wanted = Retraining(
        schedule=schedule,
        time_zone=time_zone,
        calendar=calendar,
        on_drift=on_drift,
        test_days=test_days,
        traffic=traffic,
        cooldown_s=cooldown_s,
        champion=champion,
        challenger=challenger,
        spec=_spec(file),
    )
    request = CreateRetrainingRequest(retraining_id=short(retraining), retraining=wanted)
    _print(call(data, lambda client: client.retraining.CreateRetraining(request)), output)


@app.command("list")
def list_retrainings(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """List retrainings by name."""
    found = [to_json(one) for one in call(data, _list)]
    if output is Output.JSON:
        print_json(found)
        return
    rows = [
        {**one, "retraining": short(one["name"]), "next_run_time": to_second(one.get("next_run_time"))}
        for one in found
    ]
    print_rows(rows, _COLUMNS, output)


@app.command()
def show(data: DataOption, retraining: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a retraining."""
    _print(call(data, lambda client: _get(client, retraining)), output)


@app.command()
def runs(
    data: DataOption,
    retraining: Annotated[str, typer.Argument(help="Name or id; all where left out.")] = "",
    output: OutputOption = Output.TABLE,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List runs, newest first, with what came of them."""
    found = [to_json(one) for one in call(data, lambda client: _runs(client, retraining, limit))]
    if output is Output.JSON:
        print_json(found)
        return
    rows = [
        {**one, "run": one["name"].removeprefix("retrainings/"), "due_time": to_second(one["due_time"])}
        for one in found
    ]
    print_rows(rows, _RUN_COLUMNS, output)


@app.command()
def start(data: DataOption, retraining: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Begin a run at once."""
    import uuid

    from mltrainer.trainer.v1.retraining_service_pb2 import StartRetrainingRequest

    request = StartRetrainingRequest(name=full_name("retrainings", retraining), request_id=uuid.uuid4().hex)
    run = to_json(call(data, lambda client: client.retraining.StartRetraining(request)))
    if output is Output.JSON:
        print_json(run)
    else:
        print_line(f"{run['name']} is {run['state'].lower()}: {run['message']}.")


@app.command()
def pause(data: DataOption, retraining: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Begin no more runs."""
    _print(call(data, lambda client: _set_paused(client, retraining, paused=True)), output)


@app.command()
def resume(data: DataOption, retraining: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Begin runs again, from the next time on."""
    _print(call(data, lambda client: _set_paused(client, retraining, paused=False)), output)


@app.command()
def delete(data: DataOption, retraining: NameArgument) -> None:
    """Remove a retraining; what it asked for goes on."""
    from mltrainer.trainer.v1.retraining_service_pb2 import DeleteRetrainingRequest

    request = DeleteRetrainingRequest(name=full_name("retrainings", retraining))
    removed = call(data, lambda client: client.retraining.DeleteRetraining(request))
    print_line(f"{removed.name} is removed.")


def _spec(file: Path) -> "TrainingSpec":
    from google.protobuf.json_format import ParseDict, ParseError
    from mltrainer.scheduler.v1.resources_pb2 import TrainingSpec

    from mltrainer_cli.training_request import plain_fields, read_request_file

    try:
        return ParseDict(plain_fields(read_request_file(file)), TrainingSpec())
    except ParseError as error:
        raise CliError(f"The training is not well formed: {error}.", ExitCode.USAGE) from error


def _print(found: Any, output: Output) -> None:
    fields = to_json(found)
    if output is Output.JSON:
        print_json(fields)
    else:
        print_fields({name: value for name, value in fields.items() if name not in _HIDDEN}, output)


async def _get(client: "Client", text: str) -> "Retraining":
    from mltrainer.trainer.v1.retraining_service_pb2 import GetRetrainingRequest

    return await client.retraining.GetRetraining(GetRetrainingRequest(name=full_name("retrainings", text)))


async def _set_paused(client: "Client", text: str, *, paused: bool) -> "Retraining":
    from mltrainer.trainer.v1.retraining_service_pb2 import UpdateRetrainingRequest

    found = await _get(client, text)
    found.paused = paused
    return await client.retraining.UpdateRetraining(UpdateRetrainingRequest(retraining=found))


async def _list(client: "Client") -> "list[Retraining]":
    from mltrainer.trainer.v1.retraining_service_pb2 import ListRetrainingsRequest

    async def fetch(size: int, token: str) -> "tuple[list[Retraining], str]":
        request = ListRetrainingsRequest(page_size=size, page_token=token)
        page = await client.retraining.ListRetrainings(request)
        return list(page.retrainings), page.next_page_token

    return await all_pages(fetch)


async def _runs(client: "Client", text: str, limit: int) -> "list[RetrainingRun]":
    from mltrainer.trainer.v1.retraining_service_pb2 import ListRetrainingRunsRequest

    parent = full_name("retrainings", text) if text else ""

    async def fetch(size: int, token: str) -> "tuple[list[RetrainingRun], str]":
        request = ListRetrainingRunsRequest(parent=parent, page_size=size, page_token=token)
        page = await client.retraining.ListRetrainingRuns(request)
        return list(page.runs), page.next_page_token

    return await all_pages(fetch, limit)
