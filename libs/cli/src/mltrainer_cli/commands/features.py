"""`mltrainer features`: views, their newest values, and what was known when."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import all_pages, call, full_name, to_json
from mltrainer_cli.console import print_json, print_rows
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.feature.v1.feature_service_pb2 import ListFeatureRowsRequest
    from mltrainer.feature.v1.resources_pb2 import FeatureView
    from mltrainer_sdk import Client, FeatureVectors

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("name", "version", "features", "row_count", "data_revision", "latest_event_time")
_VALUE_COLUMNS = ("symbol", "feature", "value", "status", "event_time")


@app.command("list")
def list_views(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """List feature views and how far their data reaches."""
    found = [to_json(view) for view in call(data, _views)]
    if output is Output.JSON:
        print_json(found)
        return
    rows = [{**view, "features": ", ".join(one["name"] for one in view["features"])} for view in found]
    print_rows(rows, _COLUMNS, output)


@app.command()
def get(
    data: DataOption,
    symbols: Annotated[list[str], typer.Argument(help="Symbols.", metavar="SYMBOL…")],
    output: OutputOption = Output.TABLE,
    *,
    feature: Annotated[
        list[str] | None, typer.Option(help="`view:feature`; repeatable; all if none is given.")
    ] = None,
    allow_stale: Annotated[
        bool, typer.Option("--allow-stale", help="Show values older than their view allows.")
    ] = False,
) -> None:
    """Show the newest features of symbols, as predictions read them."""

    async def ask(client: "Client") -> "FeatureVectors":
        names = list(feature or ()) or _references(await _views(client))
        return await client.get_features(symbols, names, allow_stale=allow_stale)

    print_rows(_values(call(data, ask)), _VALUE_COLUMNS, output)


@app.command()
def history(
    data: DataOption,
    view: Annotated[str, typer.Argument(help="As `features list` shows it.", metavar="VIEW")],
    symbol: Annotated[str, typer.Argument(help="Symbol.")],
    output: OutputOption = Output.TABLE,
    *,
    as_of: Annotated[datetime | None, typer.Option(help="Only what was known then, UTC.")] = None,
    start: Annotated[datetime | None, typer.Option(help="From this event time on, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 100,
) -> None:
    """List the rows of a view, as they were known at a time."""
    from mltrainer.feature.v1.feature_service_pb2 import ListFeatureRowsRequest

    request = ListFeatureRowsRequest(parent=full_name("featureViews", view), symbol=symbol)
    if as_of:
        request.as_of.FromDatetime(as_of.replace(tzinfo=UTC))
    if start:
        request.start_time.FromDatetime(start.replace(tzinfo=UTC))
    names, rows = call(data, lambda client: _history(client, request, limit))
    print_rows(rows, ("event_time", "created_time", *names), output)


def _values(vectors: "FeatureVectors") -> list[dict[str, Any]]:
    return [
        {
            "symbol": symbol,
            "feature": name,
            "value": _number(vectors.values[row, column]),
            "status": vectors.statuses[row][column].name,
            "event_time": vectors.event_times[row][column],
        }
        for row, symbol in enumerate(vectors.symbols)
        for column, name in enumerate(vectors.feature_names)
    ]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _references(views: "Sequence[FeatureView]") -> list[str]:
    return [
        f"{view.name.removeprefix('featureViews/')}:{feature.name}"
        for view in views
        for feature in view.features
    ]


async def _views(client: "Client") -> "list[FeatureView]":
    from mltrainer.feature.v1.feature_service_pb2 import ListFeatureViewsRequest

    async def fetch(size: int, token: str) -> "tuple[list[FeatureView], str]":
        request = ListFeatureViewsRequest(page_size=size, page_token=token)
        page = await client.feature.ListFeatureViews(request)
        return list(page.feature_views), page.next_page_token

    return await all_pages(fetch)


async def _history(
    client: "Client", request: "ListFeatureRowsRequest", limit: int
) -> tuple[list[str], list[dict[str, Any]]]:
    names: list[str] = []

    async def fetch(size: int, token: str) -> tuple[list[dict[str, Any]], str]:
        request.page_size, request.page_token = size, token
        page = await client.feature.ListFeatureRows(request)
        names[:] = page.feature_names
        return [_row(one, page.feature_names) for one in page.rows], page.next_page_token

    rows = await all_pages(fetch, limit)
    return names, rows


def _row(row: Any, names: Sequence[str]) -> dict[str, Any]:
    fields = to_json(row)
    values = dict(zip(names, map(_number, row.values), strict=True))
    return {"event_time": fields.get("event_time"), "created_time": fields.get("created_time"), **values}
