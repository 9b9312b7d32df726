"""`mltrainer deployments`: which versions answer predictions."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import all_pages, call, short, to_json, to_second
from mltrainer_cli.console import print_json, print_rows
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.serving.v1.serving_service_pb2 import Deployment
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("deployment", "alias", "version", "wanted", "load_time", "error")


@app.callback()
def group() -> None:
    """Keeps `list` a command of its own while it is the only one."""


@app.command("list")
def list_deployments(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List what each alias is served with."""
    found = [to_json(one) for one in call(data, lambda client: _list(client, limit))]
    if output is Output.JSON:
        print_json(found)
        return
    print_rows(_rows(found), _COLUMNS, output)


def _rows(deployments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            **alias,
            "deployment": short(deployment["name"]),
            "version": short(alias["version"]),
            "wanted": short(alias["wanted_version"]),
            "load_time": to_second(alias.get("load_time")),
        }
        for deployment in deployments
        for alias in deployment["aliases"]
    ]


async def _list(client: "Client", limit: int) -> "list[Deployment]":
    from mltrainer.serving.v1.serving_service_pb2 import ListDeploymentsRequest

    async def fetch(size: int, token: str) -> "tuple[list[Deployment], str]":
        page = await client.serving.ListDeployments(ListDeploymentsRequest(page_size=size, page_token=token))
        return list(page.deployments), page.next_page_token

    return await all_pages(fetch, limit)
