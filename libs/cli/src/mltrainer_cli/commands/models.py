"""`mltrainer models`: versions, the aliases that point to them, and where they come from."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import call, full_name, short, to_json, to_second
from mltrainer_cli.commands import model_catalogue, model_facts, model_files, model_promotions
from mltrainer_cli.commands.model_promotions import ModelArgument
from mltrainer_cli.console import print_fields, print_json, print_rows
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.registry.v1.resources_pb2 import Model, ModelVersion
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("model", "versions", "aliases", "create_time")
_VERSION_COLUMNS = ("version", "state", "aliases", "catalogue_id", "verdict", "metrics", "create_time")
FilterOption = Annotated[
    str,
    typer.Option("--filter", help="As docs/filters.md says, such as `verdict = EDGE AND metrics.r2 > 0.4`."),
]
OrderOption = Annotated[str, typer.Option("--order-by", help="Such as `create_time desc`.")]


@app.command("list")
def list_models(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    filter_text: FilterOption = "",
    order_by: OrderOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List models by name, or in another order."""
    found = [to_json(one) for one in call(data, lambda client: _models(client, filter_text, order_by, limit))]
    if output is Output.JSON:
        print_json(found)
        return
    print_rows(map(model_row, found), _COLUMNS, output)


@app.command()
def versions(
    data: DataOption,
    model: Annotated[str, typer.Argument(help="Model, or `-` for all.", metavar="[MODEL]")] = "-",
    output: OutputOption = Output.TABLE,
    *,
    filter_text: FilterOption = "",
    order_by: OrderOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """Search versions of a model or of all models."""
    found = call(data, lambda client: _versions(client, model, filter_text, order_by, limit))
    if output is Output.JSON:
        print_json([to_json(one) for one in found])
        return
    rows = [{**version_row(one, {}), "model": one.name.split("/")[1]} for one in found]
    columns = ("model", *(column for column in _VERSION_COLUMNS if column != "aliases"))
    print_rows(rows, columns, output)


@app.command()
def show(
    data: DataOption,
    model: ModelArgument,
    output: OutputOption = Output.TABLE,
    *,
    filter_text: FilterOption = "",
    order_by: OrderOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many versions.")] = 100,
) -> None:
    """Show a model, its aliases and its versions."""
    name = full_name("models", model)
    found, listed = call(data, lambda client: _show(client, name, filter_text, order_by, limit))
    fields = to_json(found)
    if output is Output.JSON:
        print_json({**fields, "versions": [to_json(version) for version in listed]})
        return
    tags = ", ".join(f"{key}={value}" for key, value in sorted(fields["tags"].items()))
    described = {"tags": tags, "description": found.description} if tags or found.description else {}
    shown = {"name": found.name, "aliases": _aliases(fields), "versions": found.version_count, **described}
    print_fields(shown, output)
    numbers = pointing(found)
    print_rows([version_row(one, numbers) for one in listed], _VERSION_COLUMNS, output)


def _aliases(model: dict[str, Any]) -> str:
    pairs = ((short(one["name"]), short(one["version"])) for one in model["aliases"])
    return ", ".join(f"{alias} → {number}" for alias, number in pairs)


def model_row(model: dict[str, Any]) -> dict[str, Any]:
    """Returns the JSON object of a model as a row."""
    return {
        **model,
        "model": short(model["name"]),
        "versions": model["version_count"],
        "aliases": _aliases(model),
        "create_time": to_second(model.get("create_time")),
    }


def pointing(model: "Model") -> dict[str, list[str]]:
    """Returns the aliases of each version that has some."""
    aliases: dict[str, list[str]] = {}
    for alias in model.aliases:
        aliases.setdefault(alias.version, []).append(short(alias.name))
    return aliases


def version_row(version: "ModelVersion", aliases: dict[str, list[str]]) -> dict[str, Any]:
    """Returns a version as a row; `aliases` has the aliases of each version."""
    fields = to_json(version)
    result = fields.get("result", {})
    metrics = ", ".join(f"{one['name']} {one['value']:.4g}" for one in result.get("metrics", ()))
    return {
        **fields,
        "version": version.number,
        "create_time": to_second(fields.get("create_time")),
        "aliases": ", ".join(aliases.get(version.name, ())),
        "catalogue_id": result.get("catalogue_id"),
        "verdict": result.get("verdict"),
        "metrics": metrics,
    }


async def _models(client: "Client", filter_text: str, order_by: str, limit: int) -> "list[Model]":
    found = []
    async for model in client.models.models(filter_text, order_by, min(limit, 1_000)):
        found.append(model)
        if len(found) == limit:
            break
    return found


async def _versions(
    client: "Client", model: str, filter_text: str, order_by: str, limit: int
) -> "list[ModelVersion]":
    found = []
    async for version in client.models.versions(
        filter_text, order_by, model=model, page_size=min(limit, 1_000)
    ):
        found.append(version)
        if len(found) == limit:
            break
    return found


async def _show(
    client: "Client", name: str, filter_text: str, order_by: str, limit: int
) -> "tuple[Model, list[ModelVersion]]":
    from mltrainer.registry.v1.registry_service_pb2 import GetModelRequest

    model = await client.registry.GetModel(GetModelRequest(name=name))
    return model, await _versions(client, name, filter_text, order_by, limit)


model_promotions.add_commands(app)
model_facts.add_commands(app)
model_files.add_commands(app)
model_catalogue.add_commands(app)
