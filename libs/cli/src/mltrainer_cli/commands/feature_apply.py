"""`mltrainer features apply`: makes views and services what a file declares."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mltrainer_cli.calls import call, to_json
from mltrainer_cli.console import print_json, print_line
from mltrainer_cli.feature_definitions import plan_lines, read_definitions, summary
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.feature.v1.feature_service_pb2 import ApplyFeatureDefinitionsResponse
    from mltrainer_sdk import Client


def apply(
    data: DataOption,
    file: Annotated[
        Path, typer.Argument(help="YAML or JSON: on_demand_views, feature_services.", exists=True)
    ],
    output: OutputOption = Output.TABLE,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, change nothing.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what was applied before and the file does not hold.")
    ] = False,
) -> None:
    """Make on-demand views and feature services what a file declares; the same file again changes nothing."""
    request = read_definitions(file)
    request.prune, request.validate_only = prune, True

    async def ask(client: "Client") -> "ApplyFeatureDefinitionsResponse":
        return await client.feature.ApplyFeatureDefinitions(request)

    plan = to_json(call(data, ask))
    is_change = any(change["action"] != "KEEP" for change in plan["changes"])
    for line in plan_lines(plan):
        print_line(line, output)
    if is_change and not dry_run:
        # What has been shown is applied, or nothing is.
        request.validate_only, request.etag = False, plan["etag"]
        plan = to_json(call(data, ask))
    if output is Output.JSON:
        print_json(plan | {"applied": is_change and not dry_run})
        return
    did = "Would apply" if dry_run else "Applied"
    print_line(f"{did}: {summary(plan)}." if is_change else "Nothing to change.")
