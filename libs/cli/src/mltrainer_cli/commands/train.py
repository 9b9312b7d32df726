"""`mltrainer train`: ask for trainings, follow them, learn why they wait, cancel them."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import all_pages, call, full_name, short, to_json, to_second
from mltrainer_cli.console import print_fields, print_json, print_line, print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
    from mltrainer.scheduler.v1.resources_pb2 import Training
    from mltrainer.trainer.v1.resources_pb2 import Attempt
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)

_GIB = 1 << 30
_COLUMNS = ("training", "state", "study", "owner", "attempts", "reason", "create_time", "end_time")
_ATTEMPT_COLUMNS = ("name", "state", "progress", "stage", "reason", "message")
_PATH_COLUMNS = ("metric", "lowest", "mean", "highest")
_DETAILS = ("name", "request_id", "state", "reason", "message", "duplicate_of", "create_time", "end_time")
TrainingArgument = Annotated[
    str, typer.Argument(help="Name of the training, or the id of its request.", metavar="TRAINING")
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for the end.")]


@app.command()
def submit(
    data: DataOption,
    file: Annotated[
        Path | None,
        typer.Argument(help="YAML or JSON with the fields of TrainingRequested.", metavar="[FILE]"),
    ] = None,
    output: OutputOption = Output.TABLE,
    *,
    study: Annotated[str, typer.Option(help="Study; created on first use.")] = "",
    target: Annotated[
        str,
        typer.Option(
            help="LOG_REALIZED_VARIANCE, EXCESS_RETURN, DIRECTION, FORWARD_RANK, PORTFOLIO_RETURN, "
            "VARIANCE_REGIME or TAIL_EVENT.",
            metavar="KIND",
        ),
    ] = "",
    horizon: Annotated[int | None, typer.Option(help="Bars ahead.")] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="Repeatable; the universe.")] = None,
    view: Annotated[list[str] | None, typer.Option(help="Feature view; repeatable.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Catalogue id or family; repeatable.")] = None,
    as_of: Annotated[datetime | None, typer.Option(help="Nothing known later is used, UTC.")] = None,
    first_test: Annotated[datetime | None, typer.Option(help="First day out of sample, UTC.")] = None,
    refit: Annotated[int | None, typer.Option(help="Bars between refits.")] = None,
    combinatorial: Annotated[
        int | None, typer.Option(help="Groups of dates for combinatorial purged folds of the chosen model.")
    ] = None,
    combinatorial_test: Annotated[int | None, typer.Option(help="Groups tested at a time; 2.")] = None,
    max_trials: Annotated[int | None, typer.Option(help="Configurations at most.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice.")] = None,
    cpu_seconds: Annotated[float | None, typer.Option(help="Budget of CPU time.")] = None,
    cpus: Annotated[float | None, typer.Option(help="Cores that each attempt holds.")] = None,
    memory_gib: Annotated[float | None, typer.Option(help="Memory that each attempt holds.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher goes first.")] = None,
    propose_alias: Annotated[str, typer.Option(help="Alias to move if the gate passes.")] = "",
    request_id: Annotated[str, typer.Option(help="Same id, same training.")] = "",
    queue: Annotated[str, typer.Option(help="Queue; `default` where left out.")] = "",
    gpus: Annotated[float | None, typer.Option(help="GPUs of each worker; fractions are allowed.")] = None,
    gpu_type: Annotated[str, typer.Option(help="Type of GPU; any where left out.")] = "",
    workers: Annotated[int | None, typer.Option(help="Workers that start together or not at all.")] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute it even if the result is known, and compare.")
    ] = False,
    follow: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say where, when and at what price; ask for nothing.")
    ] = False,
    timeout_s: TimeoutOption = 600.0,
) -> None:
    """Ask for a training with a file, with options, or with both: options win."""
    import getpass

    from mltrainer_cli.training_request import merge, read_request_file, to_request

    options = {
        "request_id": request_id,
        "study": full_name("studies", study) if study else "",
        "target": {"kind": target, "horizon_bars": horizon},
        "symbols": symbol,
        "feature_views": view,
        "as_of": as_of,
        "evaluation": {
            "first_test_time": first_test,
            "refit_interval_bars": refit,
            "combinatorial_groups": combinatorial,
            "combinatorial_test_groups": combinatorial_test,
        },
        "search": {"models": model, "max_trials": max_trials, "seed": seed},
        "budget": {"cpu_seconds": cpu_seconds},
        "resources": {
            "cpus": cpus,
            "memory_bytes": None if memory_gib is None else round(memory_gib * _GIB),
            "gpus": gpus,
            "gpu_type": gpu_type,
            "gang_workers": workers,
        },
        "queue": queue,
        "priority": priority,
        "propose_alias": propose_alias,
        "recompute": recompute or None,
    }
    fields = merge({"owner": getpass.getuser()}, read_request_file(file) if file else {})
    request = to_request(merge(fields, options))
    if dry_run:
        from mltrainer_cli.training_preview import preview_training

        preview_training(data, request, output)
        return
    requested = call(data, lambda client: _submit(client, request))
    if follow:
        _watch(data, requested, timeout_s, output)
    elif output is Output.JSON:
        print_json({"request_id": requested})
    else:
        print_line(f"Asked; follow it with `mltrainer train watch {requested}`.")


@app.command("list")
def list_trainings(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    study: Annotated[str, typer.Option(help="Only of this study.")] = "",
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List trainings, newest first."""
    states = [_state_number(one) for one in state or ()]
    found = call(data, lambda client: _list(client, study, states, limit))
    if output is Output.JSON:
        print_json([to_json(training) for training in found])
    else:
        print_rows(map(_flat, found), _COLUMNS, output)


@app.command()
def show(data: DataOption, training: TrainingArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a training and its attempts."""
    found, attempts = call(data, lambda client: _show(client, training))
    fields = to_json(found)
    if output is Output.JSON:
        print_json({**fields, "attempts": [to_json(attempt) for attempt in attempts]})
        return
    print_fields({name: fields.get(name) for name in _DETAILS}, output)
    if fields["violations"]:
        print_rows(fields["violations"], ("field", "description"), output, title="refused fields")
    print_rows(map(to_json, attempts), _ATTEMPT_COLUMNS, output, title="attempts")
    _show_paths(attempts, output)


def _show_paths(attempts: "list[Attempt]", output: Output) -> None:
    from mltrainer_cli.combinatorial_paths import path_title, spread_of_paths

    for found in (it.result.combinatorial for it in attempts if it.result.HasField("combinatorial")):
        print_rows(spread_of_paths(found), _PATH_COLUMNS, output, title=path_title(found))


@app.command()
def watch(
    data: DataOption,
    training: TrainingArgument,
    output: OutputOption = Output.TABLE,
    *,
    timeout_s: TimeoutOption = 600.0,
) -> None:
    """Follow a training to its end; exit code 8 if it has no result then."""
    _watch(data, training, timeout_s, output)


@app.command()
def why(data: DataOption, training: TrainingArgument, output: OutputOption = Output.TABLE) -> None:
    """Say why a training is where it is, and what is in its way."""
    found = to_json(call(data, lambda client: _why(client, training)))
    if output is Output.JSON:
        print_json(found)
        return
    print_line(f"{found['training']}: {found['message'] or found['reason']}")
    if found["queue_position"]:
        print_line(f"Position in its queue: {found['queue_position']}.")
    if found.get("latest_start_time"):
        early, late = to_second(found["earliest_start_time"]), to_second(found["latest_start_time"])
        print_line(f"Expected to start between {early} and {late}.")
    for blocking in found["blocking_trainings"]:
        print_line(f"Behind {blocking}.")


@app.command("why-miss")
def why_miss(
    data: DataOption,
    training: TrainingArgument,
    output: OutputOption = Output.TABLE,
    *,
    against: Annotated[
        str, typer.Option(help="Training to compare with; the nearest finished one if not said.")
    ] = "",
) -> None:
    """Say input by input why no known result was taken."""
    from mltrainer_cli.training_report import explain_miss

    explain_miss(data, training, against, output)


@app.command()
def report(
    data: DataOption,
    training: TrainingArgument,
    output: OutputOption = Output.TABLE,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Where; TRAINING.html here if not said.")
    ] = None,
) -> None:
    """Write what came out as one HTML page that needs nothing else."""
    from mltrainer_cli.training_report import write_report

    write_report(data, training, file, output)


@app.command()
def cancel(data: DataOption, training: TrainingArgument, output: OutputOption = Output.TABLE) -> None:
    """Cancel a training and end its attempt."""
    found = to_json(call(data, lambda client: _cancel(client, training)))
    if output is Output.JSON:
        print_json(found)
    else:
        print_line(f"{found['name']} is {found['state'].lower()}.")


def _watch(data: DataDirectory, training: str, timeout_s: float, output: Output) -> None:
    from mltrainer_cli.training_watch import watch_training

    found = watch_training(data, training, timeout_s, show=output is Output.TABLE)
    fields = to_json(found)
    if output is Output.JSON:
        print_json(fields)
    state = fields["state"]
    if state in {"COMPLETED", "DEDUPLICATED"}:
        print_line(f"{found.name} is {state.lower()}.", output)
        return
    wrong = "; ".join(f"{item.field}: {item.description}" for item in found.violations)
    why_not = (wrong or found.message or found.reason).rstrip(".")
    raise CliError(f"{found.name} is {state.lower()}: {why_not}.", ExitCode.CLAIM_FAILED)


async def _submit(client: "Client", request: "TrainingRequested") -> str:
    from mltrainer_messaging.broker import BrokerUnavailableError

    try:
        return await client.request_training(request)
    except BrokerUnavailableError as error:
        advice = "see `mltrainer status`, or start the stack with `mltrainer up`"
        raise CliError(f"The broker cannot be reached: {advice}.", ExitCode.NOT_RUNNING) from error


async def find_training(client: "Client", text: str) -> "Training":
    """Returns the training of a name or of the id of its request.

    Raises:
        RpcFailure: There is none.
    """
    import grpc
    from mltrainer.scheduler.v1.scheduler_service_pb2 import GetTrainingRequest, LookupTrainingRequest
    from mltrainer_sdk import RpcFailure

    try:
        return await client.scheduler.GetTraining(GetTrainingRequest(name=full_name("trainings", text)))
    except RpcFailure as failure:
        if failure.code not in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}:
            raise
    return await client.scheduler.LookupTraining(LookupTrainingRequest(request_id=text))


async def list_attempts(client: "Client", training: str) -> "list[Attempt]":
    """Returns all attempts of a training, in their order."""
    from mltrainer.trainer.v1.trainer_service_pb2 import ListAttemptsRequest

    async def fetch(size: int, token: str) -> "tuple[list[Attempt], str]":
        request = ListAttemptsRequest(parent=training, page_size=size, page_token=token)
        page = await client.trainer.ListAttempts(request)
        return list(page.attempts), page.next_page_token

    return await all_pages(fetch)


async def _list(client: "Client", study: str, states: list[Any], limit: int) -> "list[Training]":
    from mltrainer.scheduler.v1.scheduler_service_pb2 import ListTrainingsRequest

    parent = full_name("studies", study) if study else ""

    async def fetch(size: int, token: str) -> "tuple[list[Training], str]":
        request = ListTrainingsRequest(page_size=size, page_token=token, study=parent, states=states)
        page = await client.scheduler.ListTrainings(request)
        return list(page.trainings), page.next_page_token

    return await all_pages(fetch, limit)


async def _show(client: "Client", text: str) -> "tuple[Training, list[Attempt]]":
    training = await find_training(client, text)
    attempts = await list_attempts(client, training.name) if training.attempt_count else []
    return training, attempts


async def _why(client: "Client", text: str) -> Any:
    from mltrainer.scheduler.v1.scheduler_service_pb2 import ExplainTrainingRequest

    training = await find_training(client, text)
    return await client.scheduler.ExplainTraining(ExplainTrainingRequest(name=training.name))


async def _cancel(client: "Client", text: str) -> "Training":
    from mltrainer.scheduler.v1.scheduler_service_pb2 import CancelTrainingRequest

    training = await find_training(client, text)
    return await client.scheduler.CancelTraining(CancelTrainingRequest(name=training.name))


def _flat(training: "Training") -> dict[str, Any]:
    fields = to_json(training)
    return {
        **fields,
        "training": short(training.name),
        "study": short(training.spec.study),
        "owner": training.spec.owner,
        "attempts": training.attempt_count,
        "create_time": to_second(fields.get("create_time")),
        "end_time": to_second(fields.get("end_time")),
    }


def _state_number(text: str) -> int:
    from mltrainer.scheduler.v1.resources_pb2 import Training

    known = {name.removeprefix("STATE_"): number for name, number in Training.State.items() if number}
    if text.upper() not in known:
        raise CliError(f"There is no state {text!r}: use one of {', '.join(known)}.", ExitCode.USAGE)
    return known[text.upper()]
