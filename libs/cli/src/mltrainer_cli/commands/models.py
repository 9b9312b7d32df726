"""`mltrainer models`: versions, the aliases that point to them, and where they come from."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import all_pages, call, full_name, short, to_json, to_second
from mltrainer_cli.console import print_fields, print_json, print_line, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.registry.v1.resources_pb2 import Alias, AliasMove, GateEvaluation, Model, ModelVersion
    from mltrainer_sdk import Client

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("model", "versions", "aliases", "create_time")
_VERSION_COLUMNS = ("version", "state", "aliases", "catalogue_id", "verdict", "metrics", "create_time")
_MOVE_COLUMNS = ("move_time", "from_version", "to_version", "actor", "reason")
_GATE_COLUMNS = ("alias", "condition", "passed", "detail")
ModelArgument = Annotated[str, typer.Argument(help="As `models list` shows it.", metavar="MODEL")]
AliasOption = Annotated[str, typer.Option(help="Alias of the model.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept in the history.")]


@app.command("list")
def list_models(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List models by name."""
    found = [to_json(model) for model in call(data, lambda client: _list(client, limit))]
    if output is Output.JSON:
        print_json(found)
        return
    print_rows(map(model_row, found), _COLUMNS, output)


@app.command()
def show(
    data: DataOption,
    model: ModelArgument,
    output: OutputOption = Output.TABLE,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many versions.")] = 100,
) -> None:
    """Show a model, its aliases and its versions."""
    found, versions = call(data, lambda client: _show(client, full_name("models", model), limit))
    fields = to_json(found)
    if output is Output.JSON:
        print_json({**fields, "versions": [to_json(version) for version in versions]})
        return
    print_fields({"name": found.name, "aliases": _aliases(fields), "versions": found.version_count}, output)
    numbers = pointing(found)
    print_rows([version_row(one, numbers) for one in versions], _VERSION_COLUMNS, output)


@app.command()
def promote(
    data: DataOption,
    model: ModelArgument,
    version: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    output: OutputOption = Output.TABLE,
    *,
    alias: AliasOption = "champion",
    reason: ReasonOption = "promoted by hand",
) -> None:
    """Point an alias to a version; refused if somebody else moves it meanwhile."""
    moved = call(data, lambda client: _promote(client, full_name("models", model), version, alias, reason))
    _print_alias(moved, output)


@app.command()
def rollback(
    data: DataOption,
    model: ModelArgument,
    output: OutputOption = Output.TABLE,
    *,
    alias: AliasOption = "champion",
    reason: ReasonOption = "rolled back by hand",
) -> None:
    """Point an alias back to the version it pointed to before."""
    moved = call(data, lambda client: _roll_back(client, _alias_name(model, alias), reason))
    _print_alias(moved, output)


@app.command()
def history(
    data: DataOption,
    model: ModelArgument,
    output: OutputOption = Output.TABLE,
    *,
    alias: AliasOption = "champion",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List the moves of an alias, newest first."""
    found = call(data, lambda client: _history(client, _alias_name(model, alias), limit))
    rows = [to_json(move) for move in found]
    print_rows(rows if output is Output.JSON else map(_move_row, rows), _MOVE_COLUMNS, output)


@app.command()
def lineage(
    data: DataOption,
    model: ModelArgument,
    version: Annotated[
        str, typer.Argument(help="Number of the version, or an alias.", metavar="[VERSION]")
    ] = "champion",
    output: OutputOption = Output.TABLE,
) -> None:
    """Trace a version to its training, data and code, and show the gates it went through."""
    found, gates = call(data, lambda client: _lineage(client, full_name("models", model), version))
    fields = to_json(found)
    evaluations = [to_json(gate) for gate in gates]
    if output is Output.JSON:
        print_json({**fields, "gate_evaluations": evaluations})
        return
    traced = fields.get("lineage", {})
    views = ", ".join(traced.pop("feature_view_versions", ()))
    shown = {"version": found.name, "manifest": found.manifest.digest, **traced, "feature_views": views}
    print_fields(shown, output)
    rows = [{**one, "alias": short(gate["alias"])} for gate in evaluations for one in gate["conditions"]]
    print_rows(rows, _GATE_COLUMNS, output, title="gates")


def _print_alias(alias: "Alias", output: Output) -> None:
    if output is Output.JSON:
        print_json(to_json(alias))
    else:
        print_line(f"{alias.name} points to {alias.version}.")


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


def _move_row(move: dict[str, Any]) -> dict[str, Any]:
    ends = {end: short(move[end]) for end in ("from_version", "to_version")}
    return {**move, **ends, "move_time": to_second(move.get("move_time"))}


def _alias_name(model: str, alias: str) -> str:
    return f"{full_name('models', model)}/aliases/{alias}"


async def _list(client: "Client", limit: int) -> "list[Model]":
    from mltrainer.registry.v1.registry_service_pb2 import ListModelsRequest

    async def fetch(size: int, token: str) -> "tuple[list[Model], str]":
        page = await client.registry.ListModels(ListModelsRequest(page_size=size, page_token=token))
        return list(page.models), page.next_page_token

    return await all_pages(fetch, limit)


async def _show(client: "Client", name: str, limit: int) -> "tuple[Model, list[ModelVersion]]":
    from mltrainer.registry.v1.registry_service_pb2 import GetModelRequest, ListModelVersionsRequest

    async def fetch(size: int, token: str) -> "tuple[list[ModelVersion], str]":
        request = ListModelVersionsRequest(parent=name, page_size=size, page_token=token)
        page = await client.registry.ListModelVersions(request)
        return list(page.model_versions), page.next_page_token

    model = await client.registry.GetModel(GetModelRequest(name=name))
    return model, await all_pages(fetch, limit)


async def _promote(client: "Client", model: str, number: int, alias: str, reason: str) -> "Alias":
    from mltrainer.registry.v1.registry_service_pb2 import GetModelRequest, MoveAliasRequest
    from mltrainer_common.ids import new_id

    name = _alias_name(model, alias)
    present = await client.registry.GetModel(GetModelRequest(name=model))
    expected = next((one.version for one in present.aliases if one.name == name), "")
    request = MoveAliasRequest(
        name=name,
        version=f"{model}/versions/{number}",
        expected_version=expected,
        reason=reason,
        request_id=new_id(),
    )
    return await client.registry.MoveAlias(request)


async def _roll_back(client: "Client", alias: str, reason: str) -> "Alias":
    from mltrainer.registry.v1.registry_service_pb2 import RollBackAliasRequest
    from mltrainer_common.ids import new_id

    request = RollBackAliasRequest(name=alias, reason=reason, request_id=new_id())
    return await client.registry.RollBackAlias(request)


async def _history(client: "Client", alias: str, limit: int) -> "list[AliasMove]":
    from mltrainer.registry.v1.registry_service_pb2 import ListAliasMovesRequest

    async def fetch(size: int, token: str) -> "tuple[list[AliasMove], str]":
        request = ListAliasMovesRequest(parent=alias, page_size=size, page_token=token)
        page = await client.registry.ListAliasMoves(request)
        return list(page.alias_moves), page.next_page_token

    return await all_pages(fetch, limit)


async def _lineage(client: "Client", model: str, version: str) -> "tuple[ModelVersion, list[GateEvaluation]]":
    from mltrainer.registry.v1.registry_service_pb2 import (
        GetAliasRequest,
        GetModelVersionRequest,
        ListGateEvaluationsRequest,
    )

    name = f"{model}/versions/{version}"
    if not version.isdecimal():
        alias = await client.registry.GetAlias(GetAliasRequest(name=_alias_name(model, version)))
        name = alias.version
    if not name:
        raise CliError(f"{model} has no alias {version}.", ExitCode.NOT_FOUND)
    found = await client.registry.GetModelVersion(GetModelVersionRequest(name=name))

    async def fetch(size: int, token: str) -> "tuple[list[GateEvaluation], str]":
        request = ListGateEvaluationsRequest(parent=name, page_size=size, page_token=token)
        page = await client.registry.ListGateEvaluations(request)
        return list(page.gate_evaluations), page.next_page_token

    return found, await all_pages(fetch)
