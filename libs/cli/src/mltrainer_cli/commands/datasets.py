"""`mltrainer datasets`: what trainings learn from, who is in it, and what nobody needs any more."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import all_pages, call, full_name, short, to_json, to_second
from mltrainer_cli.console import print_fields, print_json, print_line, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("dataset", "state", "rows", "symbols", "target", "as_of", "create_time")
_FACTS = ("name", "state", "row_count", "sha256", "uri", "create_time", "progress", "error")
_SECONDS_PER_DAY = 86_400
DatasetArgument = Annotated[str, typer.Argument(help="As `datasets list` shows it.", metavar="DATASET")]


@app.command()
def create(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    symbol: Annotated[list[str], typer.Option(help="Repeatable; the universe.")],
    as_of: Annotated[datetime, typer.Option(help="Nothing known later is used, UTC.")],
    view: Annotated[
        list[str] | None,
        typer.Option(help="View, stored or computed, or one feature as `view:feature`; repeatable."),
    ] = None,
    service: Annotated[list[str] | None, typer.Option(help="Feature service; repeatable.")] = None,
    target: Annotated[str, typer.Option(metavar="KIND")] = "LOG_REALIZED_VARIANCE",
    horizon: Annotated[int, typer.Option(help="Bars ahead.")] = 5,
    start: Annotated[datetime | None, typer.Option(help="First event time, UTC.")] = None,
) -> None:
    """Ask for a dataset of features and labels; `show` tells how far it is."""
    from mltrainer.feature.v1.feature_service_pb2 import CreateDatasetRequest
    from mltrainer.types.v1 import types_pb2

    request = CreateDatasetRequest()
    spec = request.spec
    spec.symbols.extend(symbol)
    spec.feature_views.extend([*(view or ()), *(full_name("featureServices", one) for one in service or ())])
    try:
        spec.target.kind = types_pb2.TargetKind.Value(f"TARGET_KIND_{target.upper()}")
    except ValueError as error:
        raise CliError(f"{target} is no kind of target.", ExitCode.USAGE) from error
    spec.target.horizon_bars = horizon
    spec.as_of.FromDatetime(as_of.replace(tzinfo=UTC))
    if start is not None:
        spec.start_time.FromDatetime(start.replace(tzinfo=UTC))
    found = to_json(call(data, lambda client: client.feature.CreateDataset(request)))
    print_fields(_facts(found) | {"feature_names": ", ".join(found["feature_names"])}, output)


@app.command("list")
def list_datasets(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List datasets, newest first."""
    from mltrainer.feature.v1.feature_service_pb2 import ListDatasetsRequest

    async def ask(client: "Client") -> list[dict[str, Any]]:
        async def fetch(size: int, token: str) -> tuple[list[dict[str, Any]], str]:
            page = await client.feature.ListDatasets(ListDatasetsRequest(page_size=size, page_token=token))
            return [to_json(one) for one in page.datasets], page.next_page_token

        return await all_pages(fetch, limit)

    found = call(data, ask)
    if output is Output.JSON:
        print_json(found)
        return
    print_rows(map(_row, found), _COLUMNS, output)


def _row(dataset: dict[str, Any]) -> dict[str, Any]:
    spec = dataset["spec"]
    return {
        "dataset": short(dataset["name"]),
        "state": dataset["state"],
        "rows": dataset["row_count"],
        "symbols": len(spec["symbols"]),
        "target": f"{spec['target']['kind']} {spec['target']['horizon_bars']}",
        "as_of": to_second(spec.get("as_of")),
        "create_time": to_second(dataset.get("create_time")),
    }


@app.command()
def show(data: DataOption, dataset: DatasetArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a dataset: what it was made of, and which symbols began, ended or are not adjusted."""
    from mltrainer.feature.v1.feature_service_pb2 import GetDatasetRequest

    request = GetDatasetRequest(name=full_name("datasets", dataset))
    found = to_json(call(data, lambda client: client.feature.GetDataset(request)))
    if output is Output.JSON:
        print_json(found)
        return
    print_fields(_facts(found), output)
    print_rows(found["view_revisions"], ("feature_view", "version", "data_revision"), output)
    if universe := found.get("universe"):
        edges = [(edge, "began") for edge in universe["began_symbols"]]
        edges += [(edge, "ended") for edge in universe["ended_symbols"]]
        if edges:
            rows = [{**edge, "event": event} for edge, event in edges]
            print_rows(rows, ("symbol", "event", "event_time"), output)
        print_line(universe["statement"], output)


def _facts(dataset: dict[str, Any]) -> dict[str, Any]:
    spec, universe = dataset["spec"], dataset.get("universe") or {}
    return {name: dataset.get(name) for name in _FACTS} | {
        "symbols": ", ".join(spec["symbols"]),
        "as_of": spec.get("as_of"),
        "first_event_time": universe.get("first_event_time"),
        "last_event_time": universe.get("last_event_time"),
    }


@app.command()
def cancel(data: DataOption, dataset: DatasetArgument, output: OutputOption = Output.TABLE) -> None:
    """Stop writing a dataset; a finished one stays as it is."""
    from mltrainer.feature.v1.feature_service_pb2 import CancelDatasetRequest

    request = CancelDatasetRequest(name=full_name("datasets", dataset))
    found = to_json(call(data, lambda client: client.feature.CancelDataset(request)))
    print_fields({name: found.get(name) for name in _FACTS}, output)


@app.command()
def collect(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Remove the bytes; else only show.")] = False,
    older_than_days: Annotated[
        float | None,
        typer.Option(min=0, help="Keep what was asked for since; the server's setting if unset."),
    ] = None,
) -> None:
    """Find datasets that no running attempt, no model version and nobody of late asked for."""
    from mltrainer.feature.v1.feature_service_pb2 import CollectDatasetsRequest

    request = CollectDatasetsRequest(dry_run=not apply)
    if older_than_days is not None:
        request.grace.FromSeconds(round(older_than_days * _SECONDS_PER_DAY))
    found = to_json(call(data, lambda client: client.feature.CollectDatasets(request)))
    if output is Output.JSON:
        print_json(found)
        return
    print_rows([{"dataset": short(name)} for name in found["datasets"]], ("dataset",), output)
    verb = "removed" if apply else "would be removed (`--apply` removes them)"
    print_line(
        f"{found['idle_count']} not asked for of late, {found['referenced_count']} of them kept for their "
        f"models; {found['collected_count']} with {found['collected_bytes']:,} bytes {verb}."
    )
