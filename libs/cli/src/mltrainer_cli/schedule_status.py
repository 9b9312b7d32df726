"""`mltrainer schedule status` and `queues`: what waits, what the nodes hold, and who may have how much."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import all_pages, call, full_name, short, to_json, to_second
from mltrainer_cli.console import console, print_json, print_line, print_rows
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrainer.scheduler.v1.resources_pb2 import Node, Queue, Training
    from mltrainer.scheduler.v1.scheduler_service_pb2 import SetQueuesRequest
    from mltrainer_sdk import Client

queues = typer.Typer(no_args_is_help=True, help="See and set the tree of queues.")

_MOST_NODES = 100_000
_MOST_WAITING = 20
_PER_LINE = 64
_HEAT = " ▁▂▃▄▅▆▇█"
_RESOURCES = ("gpus", "cpus", "memory_bytes")
_QUEUE_COLUMNS = (
    "queue",
    "parent",
    "weight",
    "guaranteed",
    "ceiling",
    "used",
    "share",
    "past_share",
    "queued",
    "placed",
)
_WAITING_COLUMNS = ("training", "queue", "priority", "reason", "since")


def register(app: typer.Typer) -> None:
    """Adds the commands that ask a running scheduler."""
    app.command()(status)
    app.add_typer(queues, name="queues")


def status(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again until interrupted.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Show what waits and why, what each node holds, and how busy the cluster is."""
    while True:
        found = call(data, _look)
        if output is Output.JSON:
            print_json(found)
        else:
            if watch:
                console().clear()
            _print(found)
        if not watch:
            return
        time.sleep(every_s)


@queues.command("list")
def list_queues(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """List queues: what each may have, what it holds, and what it held lately."""
    found = call(data, _queues)
    if output is Output.JSON:
        print_json([to_json(queue) for queue in found])
    else:
        print_rows(map(_flat_queue, found), _QUEUE_COLUMNS, output)


@queues.command("set")
def set_queues(
    data: DataOption,
    file: Annotated[
        Path,
        typer.Argument(help="YAML or JSON: a list `queues` with name, parent, weight, guaranteed, ceiling."),
    ],
    output: OutputOption = Output.TABLE,
) -> None:
    """Replace the whole tree of queues, or nothing if anything in it is wrong."""
    request = read_queues(file)
    found = call(data, lambda client: client.scheduler.SetQueues(request))
    if output is Output.JSON:
        print_json([to_json(queue) for queue in found.queues])
    else:
        print_line(f"{len(request.queues)} queues are in force.")


def read_queues(file: Path) -> "SetQueuesRequest":
    """Reads a tree of queues; names may be short, and `etag` says which tree it replaces.

    Raises:
        CliError: The file cannot be read, or a field is unknown.
    """
    from google.protobuf.json_format import ParseDict, ParseError
    from mltrainer.scheduler.v1.scheduler_service_pb2 import SetQueuesRequest

    from mltrainer_cli.training_request import read_request_file

    content = read_request_file(file)
    try:
        request = ParseDict(content, SetQueuesRequest())
    except (ParseError, TypeError) as error:
        raise CliError(f"{file} does not describe queues: {error}.", ExitCode.USAGE) from error
    for queue in request.queues:
        queue.name = full_name("queues", queue.name) if queue.name else ""
        queue.parent = full_name("queues", queue.parent) if queue.parent else ""
    return request


async def _queues(client: "Client") -> "list[Queue]":
    from mltrainer.scheduler.v1.scheduler_service_pb2 import ListQueuesRequest

    async def fetch(size: int, token: str) -> "tuple[list[Queue], str]":
        page = await client.scheduler.ListQueues(ListQueuesRequest(page_size=size, page_token=token))
        return list(page.queues), page.next_page_token

    return await all_pages(fetch)


async def _look(client: "Client") -> dict[str, Any]:
    from mltrainer.scheduler.v1.resources_pb2 import Training
    from mltrainer.scheduler.v1.scheduler_service_pb2 import ListNodesRequest, ListTrainingsRequest

    async def fetch(size: int, token: str) -> "tuple[list[Node], str]":
        page = await client.scheduler.ListNodes(ListNodesRequest(page_size=size, page_token=token))
        return list(page.nodes), page.next_page_token

    nodes = await all_pages(fetch, _MOST_NODES)
    found = await _queues(client)
    request = ListTrainingsRequest(page_size=_MOST_WAITING, states=[Training.STATE_QUEUED])
    waiting = (await client.scheduler.ListTrainings(request)).trainings
    return {
        "queued": sum(queue.queued_count for queue in found),
        "placed": sum(queue.placed_count for queue in found),
        "utilization": utilization(nodes),
        "queues": [to_json(queue) for queue in found],
        "nodes": [to_json(node) for node in nodes],
        "newest_waiting": [_flat_training(training) for training in waiting],
    }


def utilization(nodes: "Sequence[Node]") -> dict[str, float | None]:
    """Returns which part of each resource of working nodes is allocated; None of what there is none."""
    usable = [node for node in nodes if node.schedulable]
    parts: dict[str, float | None] = {}
    for resource in _RESOURCES:
        total = sum(getattr(node.capacity, resource) for node in usable)
        free = sum(getattr(node.free, resource) for node in usable)
        parts[resource] = (total - free) / total if total else None
    return parts


def heat_map(nodes: "Sequence[dict[str, Any]]") -> list[str]:
    """Draws one sign for each node, the fuller the higher: its GPUs, or its CPUs where it has none."""
    signs = "".join(_sign(node) for node in nodes)
    return [signs[start : start + _PER_LINE] for start in range(0, len(signs), _PER_LINE)]


def _sign(node: dict[str, Any]) -> str:
    if not node["schedulable"]:
        return "x"
    resource = "gpus" if node["capacity"]["gpus"] else "cpus"
    total = node["capacity"][resource]
    used = 1.0 - node["free"][resource] / total if total else 0.0
    return _HEAT[min(round(used * (len(_HEAT) - 1)), len(_HEAT) - 1)]


def _print(found: dict[str, Any]) -> None:
    parts = ", ".join(
        f"{resource.removesuffix('_bytes')} {part:.0%}"
        for resource, part in found["utilization"].items()
        if part is not None
    )
    busy = f"allocated: {parts}" if parts else "nothing to allocate"
    print_line(f"{found['queued']} wait, {found['placed']} hold a place; {busy}.")
    if found["nodes"]:
        print_line(f"{len(found['nodes'])} nodes, one sign each (x takes no work):")
        for line in heat_map(found["nodes"]):
            print_line(f"  |{line}|")
    print_rows(map(_flat, found["queues"]), _QUEUE_COLUMNS, Output.TABLE, title="queues")
    if found["newest_waiting"]:
        title = f"waiting, the newest {len(found['newest_waiting'])}; `mltrainer train why` says more"
        print_rows(found["newest_waiting"], _WAITING_COLUMNS, Output.TABLE, title=title)


def _flat_training(training: "Training") -> dict[str, Any]:
    fields = to_json(training)
    return {
        "training": short(training.name),
        "queue": training.spec.queue,
        "priority": training.spec.priority,
        "reason": training.reason,
        "since": to_second(fields.get("create_time")),
    }


def _flat_queue(queue: "Queue") -> dict[str, Any]:
    return _flat(to_json(queue))


def _flat(queue: dict[str, Any]) -> dict[str, Any]:
    return {
        "queue": short(queue["name"]),
        "parent": short(queue["parent"]),
        "weight": queue["weight"],
        "guaranteed": _amounts(queue.get("guaranteed")),
        "ceiling": _amounts(queue.get("ceiling")) if queue.get("ceiling") else "none",
        "used": _amounts(queue.get("used")),
        "share": f"{queue['share']:.1%}",
        "past_share": f"{queue['past_share']:.1%}",
        "queued": queue["queued_count"],
        "placed": queue["placed_count"],
    }


def _amounts(amounts: dict[str, Any] | None) -> str:
    shown = [f"{amounts[name]:g} {name}" for name in ("gpus", "cpus") if amounts and amounts.get(name)]
    if amounts and amounts.get("memory_bytes"):
        shown.append(f"{int(amounts['memory_bytes']) / (1 << 30):.3g} GiB")
    return ", ".join(shown) or "-"
