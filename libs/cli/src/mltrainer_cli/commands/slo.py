"""`mltrainer slo`: objectives, alert rules, drift and scores."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mltrainer_cli.calls import all_pages, call, full_name, to_json
from mltrainer_cli.console import print_json, print_line, print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.monitor.v1.resources_pb2 import DriftReport, ModelScore, ServiceLevelObjective
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)

_OBJECTIVE_COLUMNS = (
    "name",
    "objective",
    "threshold_ms",
    "good_count",
    "total_count",
    "budget_left",
    "burn_rate_5m",
    "burn_rate_1h",
)
_DRIFT_COLUMNS = ("feature", "psi", "ks_statistic", "p_value", "drifted")
_SCORE_COLUMNS = (
    "version",
    "prediction_count",
    "labelled_count",
    "label_coverage",
    "r2",
    "rmse",
    "mean_error",
)
ModelArgument = Annotated[str, typer.Argument(help="Id of the model, such as vol5.")]
LimitOption = Annotated[int, typer.Option(min=1, help="At most so many.")]


@app.command("list")
def list_objectives(
    data: DataOption, output: OutputOption = Output.TABLE, limit: LimitOption = 1_000
) -> None:
    """List objectives with what is left of their error budgets."""
    print_rows([to_json(one) for one in _objectives(data, limit)], _OBJECTIVE_COLUMNS, output)


@app.command()
def rules(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """Print alert rules for Prometheus, in YAML or with `--output json` in JSON."""
    from mltrainer_cli.burn_rules import burn_rules

    document = burn_rules(_objectives(data, sys.maxsize))
    if output is Output.JSON:
        print_json(document)
        return
    import yaml

    sys.stdout.write(yaml.safe_dump(document, sort_keys=False, width=10_000))


@app.command()
def drift(model: ModelArgument, data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """Show whether a model still sees the data it was trained on."""

    async def ask(client: "Client") -> "DriftReport":
        from mltrainer.monitor.v1.monitor_service_pb2 import GetDriftReportRequest

        return await client.monitor.GetDriftReport(GetDriftReportRequest(model=full_name("models", model)))

    report = to_json(call(data, ask))
    if output is Output.JSON:
        print_json(report)
        return
    print_rows(report["features"], _DRIFT_COLUMNS, output)
    rows, reference = report["window_count"], report["reference_count"]
    print_line(f"{report['conclusion']}: {rows} rows against {reference} of the reference.")


@app.command()
def scores(
    model: ModelArgument, data: DataOption, output: OutputOption = Output.TABLE, limit: LimitOption = 100
) -> None:
    """Show how the versions of a model did once labels were known, newest version first."""

    async def ask(client: "Client") -> "list[ModelScore]":
        from mltrainer.monitor.v1.monitor_service_pb2 import ListModelScoresRequest

        async def fetch(size: int, token: str) -> "tuple[Sequence[ModelScore], str]":
            parent = full_name("models", model)
            request = ListModelScoresRequest(parent=parent, page_size=size, page_token=token)
            page = await client.monitor.ListModelScores(request)
            return page.model_scores, page.next_page_token

        return await all_pages(fetch, limit)

    print_rows([to_json(one) for one in call(data, ask)], _SCORE_COLUMNS, output)


def _objectives(data: DataDirectory, limit: int) -> "list[ServiceLevelObjective]":
    async def ask(client: "Client") -> "list[ServiceLevelObjective]":
        from mltrainer.monitor.v1.monitor_service_pb2 import ListServiceLevelObjectivesRequest

        async def fetch(size: int, token: str) -> "tuple[Sequence[ServiceLevelObjective], str]":
            request = ListServiceLevelObjectivesRequest(page_size=size, page_token=token)
            page = await client.monitor.ListServiceLevelObjectives(request)
            return page.service_level_objectives, page.next_page_token

        return await all_pages(fetch, limit)

    return call(data, ask)
