"""`mltrainer models`: what versions are made of, how they differ, and what is written about them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import call, full_name, short, to_json
from mltrainer_cli.commands.model_promotions import LimitOption, ModelArgument, VersionArgument
from mltrainer_cli.console import console, print_json, print_line, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.registry.v1.registry_service_pb2 import Descendant
    from mltrainer.registry.v1.resources_pb2 import LineageGraph, Model, ModelVersion
    from mltrainer_sdk import Client
    from rich.tree import Tree

_DIFFERENCE_COLUMNS = ("field", "before", "after")
_DESCENDANT_COLUMNS = ("model", "version", "generation")
_LINEAGE_KINDS = (
    "version",
    "attempt",
    "training",
    "study",
    "dataset",
    "dataset-sha256",
    "feature-view-version",
    "code-digest",
    "environment-digest",
    "computation-key",
)
_UNCOMPARED = frozenset({"name", "number", "etag", "revision", "update_revision", "create_time"})


def add_commands(app: typer.Typer) -> None:
    """Adds the commands of this module to `models`."""
    for command in (diff, lineage, descendants, card, tag, archive):
        app.command()(command)


def diff(
    data: DataOption,
    model: ModelArgument,
    before: Annotated[str, typer.Argument(help="Number or alias.", metavar="BEFORE")],
    after: Annotated[str, typer.Argument(help="Number or alias.", metavar="AFTER")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show in what two versions of a model differ."""
    versions = call(data, lambda client: _versions(client, model, before, after))
    old, new = (_flat(one) for one in versions)
    rows = [
        {"field": field, "before": old.get(field), "after": new.get(field)}
        for field in dict.fromkeys([*old, *new])
        if old.get(field) != new.get(field)
    ]
    print_rows(rows, _DIFFERENCE_COLUMNS, output)


def lineage(
    data: DataOption,
    model: ModelArgument,
    version: VersionArgument = "champion",
    output: OutputOption = Output.TABLE,
    *,
    generations: Annotated[int, typer.Option(min=1, max=100, help="Of parents and of children.")] = 10,
) -> None:
    """Trace a version to its training, data and code, and to what was made of it."""
    graph = call(data, lambda client: client.models.lineage(model, version, generations))
    if output is Output.JSON:
        print_json(to_json(graph))
        return
    console().print(_tree(graph, "made of", forward=True))
    if any(edge.to_node == 0 for edge in graph.edges):
        console().print(_tree(graph, "came to", forward=False))
    if graph.truncated:
        print_line("There are more generations: ask for them with --generations.")


def descendants(
    data: DataOption,
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(_LINEAGE_KINDS)}.", metavar="KIND")],
    name: Annotated[str, typer.Argument(help="Name or digest, such as `bars@1`.", metavar="NAME")],
    output: OutputOption = Output.TABLE,
    *,
    limit: LimitOption = 100,
) -> None:
    """List the versions that were made of something, directly or through another version."""
    if kind not in _LINEAGE_KINDS:
        raise CliError(f"{kind!r} is none of {', '.join(_LINEAGE_KINDS)}.", ExitCode.USAGE)
    rows = [to_json(one) for one in call(data, lambda client: _descendants(client, kind, name, limit))]
    if output is Output.TABLE:
        rows = [
            {**row, "model": row["version"].split("/")[1], "version": short(row["version"])} for row in rows
        ]
    print_rows(rows, _DESCENDANT_COLUMNS, output)


def card(
    data: DataOption,
    model: ModelArgument,
    version: VersionArgument = "champion",
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the model card of a version, in Markdown."""
    markdown = call(data, lambda client: client.models.card(model, version))
    if output is Output.JSON:
        print_json({"markdown": markdown})
        return
    typer.echo(markdown)


def tag(
    data: DataOption,
    model: ModelArgument,
    tags: Annotated[list[str] | None, typer.Argument(help="`key=value`.", metavar="[KEY=VALUE]...")] = None,
    output: OutputOption = Output.TABLE,
    *,
    version: Annotated[str, typer.Option(help="Number or alias; the model itself where none.")] = "",
    remove: Annotated[list[str] | None, typer.Option(help="Key to remove; may be repeated.")] = None,
    description: Annotated[str | None, typer.Option(help="Markdown to describe it with.")] = None,
) -> None:
    """Set tags and the description of a model or a version."""
    pairs = dict(_pair(one) for one in tags or ())
    paths = [f"tags.{key}" for key in (*pairs, *(remove or ()))]
    if description is not None:
        paths.append("description")
    if not paths:
        raise CliError("Name at least one key=value, --remove or --description.", ExitCode.USAGE)
    text = description or ""
    changed = to_json(call(data, lambda client: _tag(client, (model, version), pairs, paths, text)))
    if output is Output.JSON:
        print_json(changed)
        return
    listed = ", ".join(f"{key}={value}" for key, value in sorted(changed["tags"].items()))
    print_line(f"{changed['name']} has {listed or 'no tags'}.")


def archive(
    data: DataOption,
    model: ModelArgument,
    version: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a version out of service for good; refused while an alias points to it."""
    archived = call(data, lambda client: _archive(client, f"{full_name('models', model)}/versions/{version}"))
    if output is Output.JSON:
        print_json(to_json(archived))
    else:
        print_line(f"{archived.name} is archived.")


def _flat(version: "ModelVersion") -> dict[str, Any]:
    """Returns the fields of a version by path, those that merely count left out."""
    fields = to_json(version)
    result, files = fields.pop("result", {}), fields.pop("manifest", {}).get("files", ())
    signature = result.pop("signature", None) or {}
    flat = {name: value for name, value in fields.items() if name not in _UNCOMPARED}
    for name in ("lineage", "target", "tags"):
        flat |= {f"{name}.{key}": value for key, value in (flat.pop(name, None) or {}).items()}
    flat |= {f"metrics.{one['name']}": one["value"] for one in result.pop("metrics", ())}
    for side in ("inputs", "outputs"):
        flat |= {f"{side}.{one['name']}": one["data_type"] for one in signature.get(side, ())}
    flat |= {f"files.{one['path']}": one["sha256"] for one in files}
    flat |= {name: result.get(name) for name in ("catalogue_id", "parameters_json", "verdict", "row_count")}
    return flat


def _tree(graph: "LineageGraph", title: str, *, forward: bool) -> "Tree":
    from rich.markup import escape
    from rich.tree import Tree

    ends: dict[int, list[int]] = {}
    for edge in graph.edges:
        source, end = (edge.from_node, edge.to_node) if forward else (edge.to_node, edge.from_node)
        ends.setdefault(source, []).append(end)
    labels = [f"[dim]{_kind(node)}[/] {escape(node.name)}" for node in graph.nodes]
    root = Tree(f"{labels[0]} [dim]{title}[/]")
    waiting, seen = [(0, root)], {0}
    while waiting:
        position, branch = waiting.pop(0)
        for end in ends.get(position, ()):
            child = branch.add(labels[end])
            # A dataset that several versions share is opened once.
            if end not in seen:
                seen.add(end)
                waiting.append((end, child))
    return root


def _kind(node: Any) -> str:
    return str(to_json(node)["kind"]).lower().replace("_", " ")


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise CliError(f"{text!r} is not of the form key=value.", ExitCode.USAGE)
    return key, value


async def _versions(client: "Client", model: str, *names: str) -> "list[ModelVersion]":
    from mltrainer.registry.v1.registry_service_pb2 import GetModelVersionRequest

    found = []
    for name in names:
        full = await client.models.version_name(model, name)
        found.append(await client.registry.GetModelVersion(GetModelVersionRequest(name=full)))
    return found


async def _descendants(client: "Client", kind: str, name: str, limit: int) -> "list[Descendant]":
    from mltrainer.registry.v1.resources_pb2 import LineageNode

    value = LineageNode.Kind.Value(f"KIND_{kind.replace('-', '_').upper()}")
    found = []
    async for descendant in client.models.descendants(value, name, min(limit, 1_000)):
        found.append(descendant)
        if len(found) == limit:
            break
    return found


async def _tag(
    client: "Client", subject: tuple[str, str], tags: dict[str, str], paths: list[str], description: str
) -> "Model | ModelVersion":
    from google.protobuf.field_mask_pb2 import FieldMask
    from mltrainer.registry.v1.registry_service_pb2 import UpdateModelRequest, UpdateModelVersionRequest
    from mltrainer.registry.v1.resources_pb2 import Model, ModelVersion

    model, version = subject
    mask = FieldMask(paths=paths)
    if not version:
        wanted = Model(name=full_name("models", model), description=description, tags=tags)
        return await client.registry.UpdateModel(UpdateModelRequest(model=wanted, update_mask=mask))
    name = await client.models.version_name(model, version)
    changed = ModelVersion(name=name, description=description, tags=tags)
    request = UpdateModelVersionRequest(model_version=changed, update_mask=mask)
    return await client.registry.UpdateModelVersion(request)


async def _archive(client: "Client", name: str) -> "ModelVersion":
    from mltrainer.registry.v1.registry_service_pb2 import ArchiveModelVersionRequest

    return await client.registry.ArchiveModelVersion(ArchiveModelVersionRequest(name=name))
