"""`mltrainer models`: who moves aliases, under which conditions, and who agrees."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import all_pages, call, full_name, short, to_json, to_second
from mltrainer_cli.console import print_fields, print_json, print_line, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from mltrainer.registry.v1.resources_pb2 import Alias, AliasMove, GateEvaluation, GatePolicy, Promotion
    from mltrainer_sdk import Client

_MOVE_COLUMNS = ("move_time", "from_version", "to_version", "actor", "reason")
_GATE_COLUMNS = ("evaluate_time", "alias", "condition", "passed", "detail")
_PROMOTION_COLUMNS = ("promotion", "model", "alias", "version", "state", "requester", "reason", "decider")
_CONDITION_COLUMNS = ("condition", "metric", "limits")
ModelArgument = Annotated[str, typer.Argument(help="As `models list` shows it.", metavar="MODEL")]
VersionArgument = Annotated[
    str, typer.Argument(help="Number of the version, or an alias.", metavar="[VERSION]")
]
AliasOption = Annotated[str, typer.Option(help="Alias of the model.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept in the history.")]
LimitOption = Annotated[int, typer.Option(min=1, help="At most so many.")]
PromotionArgument = Annotated[
    int, typer.Argument(min=1, help="Number, as `models promotions` shows it.", metavar="PROMOTION")
]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands of this module to `models`."""
    for command in (promote, rollback, history, gates, policy, promotions, approve, reject):
        app.command()(command)


def promote(
    data: DataOption,
    model: ModelArgument,
    version: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    output: OutputOption = Output.TABLE,
    *,
    alias: AliasOption = "champion",
    reason: ReasonOption = "promoted by hand",
) -> None:
    """Point an alias to a version, or ask for it where somebody else has to approve."""
    asked = call(data, lambda client: _promote(client, full_name("models", model), version, alias, reason))
    _print_promotion(asked, output)


def rollback(
    data: DataOption,
    model: ModelArgument,
    output: OutputOption = Output.TABLE,
    *,
    alias: AliasOption = "champion",
    reason: ReasonOption = "rolled back by hand",
) -> None:
    """Point an alias back to the version it pointed to before."""
    moved = call(data, lambda client: _roll_back(client, alias_name(model, alias), reason))
    if output is Output.JSON:
        print_json(to_json(moved))
    else:
        print_line(f"{moved.name} points to {moved.version}.")


def history(
    data: DataOption,
    model: ModelArgument,
    output: OutputOption = Output.TABLE,
    *,
    alias: AliasOption = "champion",
    limit: LimitOption = 100,
) -> None:
    """List the moves of an alias, newest first."""
    found = call(data, lambda client: _history(client, alias_name(model, alias), limit))
    rows = [to_json(move) for move in found]
    print_rows(rows if output is Output.JSON else map(_move_row, rows), _MOVE_COLUMNS, output)


def gates(
    data: DataOption,
    model: ModelArgument,
    version: VersionArgument = "champion",
    output: OutputOption = Output.TABLE,
    *,
    limit: LimitOption = 20,
) -> None:
    """Show every condition that a version was held against, with its reason, newest first."""
    found = [to_json(gate) for gate in call(data, lambda client: _gates(client, model, version, limit))]
    if output is Output.JSON:
        print_json(found)
        return
    rows = [
        {**one, "alias": short(gate["alias"]), "evaluate_time": to_second(gate.get("evaluate_time"))}
        for gate in found
        for one in gate["conditions"]
    ]
    print_rows(rows, _GATE_COLUMNS, output)


def policy(
    data: DataOption,
    model: Annotated[str, typer.Argument(help="Model, or `-` for the default.", metavar="[MODEL]")] = "-",
    output: OutputOption = Output.TABLE,
    *,
    alias: Annotated[str, typer.Option(help="Alias, or `-` for all without their own.")] = "champion",
    set_file: Annotated[
        Path | None,
        typer.Option("--set", help="JSON file with the list of conditions to set.", dir_okay=False),
    ] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Take it back: the next closest one holds.")] = False,
    reason: ReasonOption = "set by hand",
) -> None:
    """Show the conditions of an alias, set them, or take them back."""
    if unset and set_file:
        raise CliError("Either set conditions or take them back.", ExitCode.USAGE)
    name = f"{full_name('models', model)}/gatePolicies/{alias}"
    wanted = {"conditions": _read_conditions(set_file)} if set_file else {"unset": True} if unset else None
    found = to_json(call(data, lambda client: _policy(client, name, wanted, reason)))
    if output is Output.JSON:
        print_json(found)
        return
    shown = {field: found[field] for field in ("name", "number", "actor", "reason")}
    if found.get("unset"):
        shown["state"] = "taken back: the next closest one holds"
    print_fields({**shown, "update_time": to_second(found.get("update_time"))}, output)
    print_rows(map(_condition_row, found["conditions"]), _CONDITION_COLUMNS, output, title="conditions")


def promotions(
    data: DataOption,
    model: Annotated[str, typer.Argument(help="Model, or `-` for all.", metavar="[MODEL]")] = "-",
    output: OutputOption = Output.TABLE,
    *,
    pending: Annotated[bool, typer.Option(help="Only those that wait for an approver.")] = False,
    limit: LimitOption = 100,
) -> None:
    """List who has asked for which alias, and what was decided, newest first."""
    parent = full_name("models", model)
    rows = [to_json(one) for one in call(data, lambda client: _promotions(client, parent, limit, pending))]
    print_rows(rows if output is Output.JSON else map(_promotion_row, rows), _PROMOTION_COLUMNS, output)


def approve(
    data: DataOption,
    model: ModelArgument,
    promotion: PromotionArgument,
    output: OutputOption = Output.TABLE,
    *,
    reason: ReasonOption = "approved by hand",
) -> None:
    """Approve what somebody else has asked for, which moves the alias."""
    name = f"{full_name('models', model)}/promotions/{promotion}"
    _print_promotion(call(data, lambda client: _decide(client, name, reason, approve=True)), output)


def reject(
    data: DataOption,
    model: ModelArgument,
    promotion: PromotionArgument,
    output: OutputOption = Output.TABLE,
    *,
    reason: ReasonOption = "rejected by hand",
) -> None:
    """Reject a promotion, for good."""
    name = f"{full_name('models', model)}/promotions/{promotion}"
    _print_promotion(call(data, lambda client: _decide(client, name, reason, approve=False)), output)


def alias_name(model: str, alias: str) -> str:
    """Names an alias of a model."""
    return f"{full_name('models', model)}/aliases/{alias}"


def _print_promotion(promotion: "Promotion", output: Output) -> None:
    fields = to_json(promotion)
    if output is Output.JSON:
        print_json(fields)
        return
    number = short(promotion.name)
    model = promotion.name.split("/")[1]
    match fields["state"]:
        case "APPLIED":
            print_line(f"{promotion.alias} points to {promotion.version}.")
        case "PENDING":
            print_line(
                f"{promotion.alias} moves to {promotion.version} once somebody else approves: "
                f"`mltrainer models approve {model} {number}`."
            )
        case state:
            print_line(f"{promotion.name} is {state.lower()}.")


def _move_row(move: dict[str, Any]) -> dict[str, Any]:
    ends = {end: short(move[end]) for end in ("from_version", "to_version")}
    return {**move, **ends, "move_time": to_second(move.get("move_time"))}


def _promotion_row(promotion: dict[str, Any]) -> dict[str, Any]:
    return {
        **promotion,
        "promotion": short(promotion["name"]),
        "model": promotion["name"].split("/")[1],
        "alias": short(promotion["alias"]),
        "version": short(promotion["version"]),
    }


def _condition_row(condition: dict[str, Any]) -> dict[str, Any]:
    limits = {
        name: value for name, value in condition.items() if name not in {"condition", "metric"} and value
    }
    return {**condition, "limits": ", ".join(f"{name} {value}" for name, value in limits.items())}


def _read_conditions(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CliError(f"Could not read conditions from {path}: {error}.", ExitCode.USAGE) from error
    if not isinstance(content, list):
        raise CliError(f"{path} holds no list of conditions.", ExitCode.USAGE)
    return content


async def _promote(client: "Client", model: str, number: int, alias: str, reason: str) -> "Promotion":
    from mltrainer.registry.v1.registry_service_pb2 import RequestPromotionRequest
    from mltrainer_common.ids import new_id

    request = RequestPromotionRequest(
        alias=f"{model}/aliases/{alias}",
        version=f"{model}/versions/{number}",
        reason=reason,
        request_id=new_id(),
    )
    return await client.registry.RequestPromotion(request)


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


async def _gates(client: "Client", model: str, version: str, limit: int) -> "list[GateEvaluation]":
    from mltrainer.registry.v1.registry_service_pb2 import (
        GetModelVersionRequest,
        ListGateEvaluationsRequest,
    )

    name = await client.models.version_name(model, version)
    await client.registry.GetModelVersion(GetModelVersionRequest(name=name))

    async def fetch(size: int, token: str) -> "tuple[list[GateEvaluation], str]":
        request = ListGateEvaluationsRequest(parent=name, page_size=size, page_token=token)
        page = await client.registry.ListGateEvaluations(request)
        return list(page.gate_evaluations), page.next_page_token

    return await all_pages(fetch, limit)


async def _policy(client: "Client", name: str, change: dict[str, Any] | None, reason: str) -> "GatePolicy":
    from google.protobuf.json_format import ParseDict, ParseError
    from mltrainer.registry.v1.registry_service_pb2 import GetGatePolicyRequest, UpdateGatePolicyRequest
    from mltrainer.registry.v1.resources_pb2 import GatePolicy

    if change is None:
        return await client.registry.GetGatePolicy(GetGatePolicyRequest(name=name))
    try:
        wanted = ParseDict({"name": name, "reason": reason, **change}, GatePolicy())
    except ParseError as error:
        raise CliError(f"The conditions cannot be read: {error}.", ExitCode.USAGE) from error
    return await client.registry.UpdateGatePolicy(UpdateGatePolicyRequest(gate_policy=wanted))


async def _promotions(client: "Client", parent: str, limit: int, pending: bool) -> "list[Promotion]":
    from mltrainer.registry.v1.registry_service_pb2 import ListPromotionsRequest
    from mltrainer.registry.v1.resources_pb2 import Promotion

    state = Promotion.STATE_PENDING if pending else Promotion.STATE_UNSPECIFIED

    async def fetch(size: int, token: str) -> "tuple[list[Promotion], str]":
        request = ListPromotionsRequest(parent=parent, page_size=size, page_token=token, state=state)
        page = await client.registry.ListPromotions(request)
        return list(page.promotions), page.next_page_token

    return await all_pages(fetch, limit)


async def _decide(client: "Client", name: str, reason: str, *, approve: bool) -> "Promotion":
    from mltrainer.registry.v1.registry_service_pb2 import ApprovePromotionRequest, RejectPromotionRequest

    if approve:
        return await client.registry.ApprovePromotion(ApprovePromotionRequest(name=name, reason=reason))
    return await client.registry.RejectPromotion(RejectPromotionRequest(name=name, reason=reason))
