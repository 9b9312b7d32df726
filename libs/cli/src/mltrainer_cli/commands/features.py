"""`mltrainer features`: views, their newest values, and what was known when."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli import feature_reads
from mltrainer_cli.calls import all_pages, call, full_name, to_json
from mltrainer_cli.commands.feature_apply import apply
from mltrainer_cli.console import print_fields, print_json, print_line, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.feature_files import backfill_file
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer_sdk import Client, FeatureVectors

app = typer.Typer(no_args_is_help=True)
app.command()(apply)

_COLUMNS = ("name", "version", "features", "row_count", "data_revision", "latest_event_time")
_FACTS = ("name", "version", "row_count", "data_revision", "latest_event_time", "age", "max_age")
_SKEW_COLUMNS = (
    "feature",
    "compared_count",
    "different_count",
    "largest_difference",
    "mean_shift",
    "stability_index",
)
_VALUE_COLUMNS = ("symbol", "feature", "value", "status", "event_time")


@app.command("list")
def list_views(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """List feature views and how far their data reaches."""
    found = [to_json(view) for view in call(data, feature_reads.views)]
    if output is Output.JSON:
        print_json(found)
        return
    rows = [{**view, "features": ", ".join(one["name"] for one in view["features"])} for view in found]
    print_rows(rows, _COLUMNS, output)


@app.command("on-demand")
def on_demand(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """List the features that are computed when they are read, and what a request has to bring."""
    from mltrainer.feature.v1.feature_service_pb2 import ListOnDemandFeatureViewsRequest

    request = ListOnDemandFeatureViewsRequest()
    found = to_json(call(data, lambda client: client.feature.ListOnDemandFeatureViews(request)))["views"]
    if output is Output.JSON:
        print_json(found)
        return
    rows = [
        one["feature"]
        | one
        | {"name": f"{view['name']}:{one['feature']['name']}", "version": view["version"]}
        for view in found
        for one in view["features"]
    ]
    brought = [field | {"view": view["name"]} for view in found for field in view["request_fields"]]
    print_rows(rows, ("name", "version", "unit", "expression", "description"), output)
    print_rows(brought, ("view", "name", "unit", "description"), output)


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
        names = list(feature or ()) or feature_reads.references(await feature_reads.views(client))
        return await client.get_features(symbols, names, allow_stale=allow_stale)

    print_rows(feature_reads.values(call(data, ask)), _VALUE_COLUMNS, output)


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
    names, rows = call(data, lambda client: feature_reads.history(client, request, limit))
    print_rows(rows, ("event_time", "created_time", *names), output)


@app.command()
def show(
    data: DataOption,
    view: Annotated[str, typer.Argument(help="As `features list` shows it.", metavar="VIEW")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a view holds: every feature with formula and unit, and how fresh it is."""
    from mltrainer.feature.v1.feature_service_pb2 import GetFeatureViewRequest

    request = GetFeatureViewRequest(name=full_name("featureViews", view))
    found = to_json(call(data, lambda client: client.feature.GetFeatureView(request)))
    if output is Output.JSON:
        print_json(found)
        return
    print_fields({name: found.get(name) for name in _FACTS}, output)
    print_rows(found["features"], ("name", "unit", "description"), output)
    print_rows(
        {one["unit"]: one for one in found["features"]}.values(), ("unit", "unit_meaning", "times"), output
    )


@app.command()
def freshness(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """Compare the age of every view's newest row, on the market clock, with its objective."""
    views = call(data, feature_reads.views)
    rows = [feature_reads.freshness(view) for view in views]
    print_rows(rows, ("view", "state", "age_s", "max_age_s", "latest_event_time"), output)
    stale = [row["view"] for row in rows if row["state"] != "ok"]
    if stale:
        raise CliError(
            f"Not fresh: {', '.join(stale)}. Look for refused bars with `mltrainer features refused`, "
            "load missing ones with `mltrainer features backfill`.",
            ExitCode.CLAIM_FAILED,
        )


@app.command()
def backfill(
    data: DataOption,
    file: Annotated[
        Path, typer.Argument(help="CSV (plain or gzip) or Parquet: symbol, event_time, close, …", exists=True)
    ],
    output: OutputOption = Output.TABLE,
    *,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the end of the load.")] = 600.0,
) -> None:
    """Load bars of the past from a file, beside the live stream; the same file loads once."""
    found = to_json(backfill_file(data, file, timeout))
    fields = ("name", "state", "accepted_count", "refused_count", "problems", "error")
    print_fields({name: found[name] for name in fields}, output)
    if found["state"] != "SUCCEEDED":
        raise CliError(f"{file} was not loaded: {found['error']}.", ExitCode.REJECTED)


@app.command()
def refused(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    symbol: Annotated[str, typer.Option(help="Only of this symbol.")] = "",
    reason: Annotated[str, typer.Option(help="Only with this reason, such as PRICE_NOT_POSITIVE.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many bars.")] = 100,
) -> None:
    """List the bars that were kept out of the features, newest first, and why."""
    from mltrainer.feature.v1.feature_service_pb2 import ListRefusedBarsRequest

    async def ask(client: "Client") -> list[dict[str, Any]]:
        async def fetch(size: int, token: str) -> tuple[list[dict[str, Any]], str]:
            request = ListRefusedBarsRequest(page_size=size, page_token=token, symbol=symbol, reason=reason)
            page = await client.feature.ListRefusedBars(request)
            return [to_json(bar) for bar in page.refused_bars], page.next_page_token

        return await all_pages(fetch, limit)

    print_rows(
        call(data, ask), ("name", "symbol", "event_time", "close", "reason", "field", "source"), output
    )


@app.command()
def replay(
    data: DataOption,
    names: Annotated[list[str], typer.Argument(help="As `features refused` shows them.", metavar="BAR…")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Judge refused bars again, and store those that can be used now."""
    from mltrainer.feature.v1.feature_service_pb2 import ReplayRefusedBarsRequest

    request = ReplayRefusedBarsRequest(names=[full_name("refusedBars", name) for name in names])
    answer = to_json(call(data, lambda client: client.feature.ReplayRefusedBars(request)))
    if output is Output.JSON:
        print_json(answer)
        return
    print_line(f"{answer['accepted_count']} stored, {len(answer['refused_bars'])} still refused.")
    if answer["refused_bars"]:
        print_rows(
            answer["refused_bars"], ("name", "symbol", "event_time", "close", "reason", "field"), output
        )


@app.command()
def skew(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    version: Annotated[str, typer.Option(help="Only what this version was given: MODEL/VERSION.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many newest vectors.")] = 10_000,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="File to draw into, such as skew.png.")
    ] = None,
) -> None:
    """Compare what models were given with what was known then, bit for bit; fails where they differ."""
    from mltrainer.feature.v1.feature_service_pb2 import CompareServedVectorsRequest

    from mltrainer_cli.feature_skew import MATCHES, counts, draw_skew

    name = "models/{}/versions/{}".format(*version.split("/", 1)) if version.count("/") == 1 else version
    request = CompareServedVectorsRequest(max_vectors=limit, version=name)
    report = to_json(call(data, lambda client: client.feature.CompareServedVectors(request)))
    if picture and report["features"]:
        draw_skew(report["features"], picture)
    if output is Output.JSON:
        print_json(report)
    else:
        print_fields(counts(report), output)
        print_rows(report["features"], _SKEW_COLUMNS, output)
        print_rows(report["examples"], ("symbol", "feature", "served", "recomputed", "served_time"), output)
    if not any(report[f"{match}_count"] for match in MATCHES):
        raise CliError(
            "No vectors have been kept yet: a share of the predictions that name their symbols is.",
            ExitCode.NOT_FOUND,
        )
    if report["different_count"]:
        raise CliError(
            f"{report['different_count']} vectors differ from what was known: look how their application "
            "computes or reads these features.",
            ExitCode.CLAIM_FAILED,
        )


@app.command()
def plot(
    data: DataOption,
    view: Annotated[str, typer.Argument(help="As `features list` shows it.", metavar="VIEW")],
    symbols: Annotated[list[str], typer.Argument(help="Symbols.", metavar="SYMBOL…")],
    *,
    feature: Annotated[str, typer.Option(help="One feature of the view.")],
    picture: Annotated[
        Path | None, typer.Option("--picture", help="File to draw into, such as volatility.png.")
    ] = None,
    start: Annotated[datetime | None, typer.Option(help="From this event time on, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=2, help="At most so many rows of each symbol.")] = 1_000,
) -> None:
    """Draw a feature over time: into a picture, or as one line of the terminal for each symbol."""
    from mltrainer.feature.v1.feature_service_pb2 import ListFeatureRowsRequest

    from mltrainer_cli.feature_plots import Series, draw_series, sparkline

    async def ask(client: "Client") -> list[Series]:
        found = []
        for symbol in symbols:
            request = ListFeatureRowsRequest(parent=full_name("featureViews", view), symbol=symbol)
            if start:
                request.start_time.FromDatetime(start.replace(tzinfo=UTC))
            names, rows = await feature_reads.history(client, request, limit)
            if feature not in names:
                raise CliError(f"{view} has no feature {feature}; it has {', '.join(names)}.", ExitCode.USAGE)
            points = [(row["event_time"], row[feature]) for row in rows if row[feature] is not None]
            found.append(Series(symbol, tuple(points)))
        return found

    drawn = call(data, ask)
    empty = [series.symbol for series in drawn if not series.points]
    if empty:
        raise CliError(
            f"No values of {feature} for {', '.join(empty)}: check the symbol, or choose an earlier --start.",
            ExitCode.NOT_FOUND,
        )
    if picture:
        draw_series(drawn, picture, title=full_name("featureViews", view).rpartition("/")[2], up=feature)
        print_line(f"Drawn into {picture}.")
        return
    for series in drawn:
        print_line(sparkline(series))
